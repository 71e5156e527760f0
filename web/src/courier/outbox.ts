/**
 * What a courier's phone has yet to send, kept in IndexedDB: fixes and steps survive a lost network
 * and a reload.
 *
 * Fixes are sent newest first, so that the map is right before the track is complete. Steps are sent
 * in the order in which they were taken, each with its own time. A thing leaves the store only after
 * the server has answered for it.
 */

export interface StoredFix {
  fix_time: number;
  lat: number;
  lon: number;
  accuracy_m?: number;
  speed_mps?: number;
  heading_deg?: number;
  altitude_m?: number;
  battery_pct?: number;
}

export interface StoredStep {
  key?: number;
  /** Route below `/v1/me/`. */
  path: string;
  body: Record<string, unknown>;
  /** The delivery it is about, if any. */
  delivery?: string;
}

/** A fix every 5 s for a day and a half: beyond that the oldest go. */
export const MOST_FIXES = 25_000;

const DB = 'waylog-courier';

function request<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error ?? new Error('IndexedDB'));
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB'));
  });
}

export class Outbox {
  private constructor(private readonly db: IDBDatabase) {}

  static async open(): Promise<Outbox> {
    const opening = indexedDB.open(DB, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore('fixes', { keyPath: 'fix_time' });
      opening.result.createObjectStore('steps', { keyPath: 'key', autoIncrement: true });
      opening.result.createObjectStore('kept');
    };
    return new Outbox(await request(opening));
  }

  /** Stores a fix; answers how many wait. */
  async addFix(fix: StoredFix): Promise<number> {
    const transaction = this.db.transaction('fixes', 'readwrite');
    const store = transaction.objectStore('fixes');
    store.put(fix);
    const count = await request(store.count());
    if (count > MOST_FIXES) {
      const oldest = await request(store.getAllKeys(null, count - MOST_FIXES));
      for (const key of oldest) store.delete(key);
    }
    await finished(transaction);
    return Math.min(count, MOST_FIXES);
  }

  /** The newest fixes that wait, newest first. */
  async newestFixes(limit: number): Promise<StoredFix[]> {
    const fixes: StoredFix[] = [];
    const cursor = this.db.transaction('fixes').objectStore('fixes').openCursor(null, 'prev');
    return new Promise((resolve, reject) => {
      cursor.onerror = () => reject(cursor.error ?? new Error('IndexedDB'));
      cursor.onsuccess = () => {
        const at = cursor.result;
        if (!at || fixes.length === limit) return resolve(fixes);
        fixes.push(at.value as StoredFix);
        at.continue();
      };
    });
  }

  async dropFixes(fixes: StoredFix[]): Promise<void> {
    const transaction = this.db.transaction('fixes', 'readwrite');
    for (const fix of fixes) transaction.objectStore('fixes').delete(fix.fix_time);
    await finished(transaction);
  }

  async countFixes(): Promise<number> {
    return request(this.db.transaction('fixes').objectStore('fixes').count());
  }

  async addStep(step: StoredStep): Promise<void> {
    const transaction = this.db.transaction('steps', 'readwrite');
    transaction.objectStore('steps').add(step);
    await finished(transaction);
  }

  /** Steps that wait, in the order in which they were taken. */
  async steps(): Promise<StoredStep[]> {
    return request(this.db.transaction('steps').objectStore('steps').getAll() as IDBRequest<StoredStep[]>);
  }

  async dropStep(step: StoredStep): Promise<void> {
    const transaction = this.db.transaction('steps', 'readwrite');
    transaction.objectStore('steps').delete(step.key!);
    await finished(transaction);
  }

  /** A small thing to remember: who this phone is, whether on duty, the stops last seen. */
  async keep(name: string, value: unknown): Promise<void> {
    const transaction = this.db.transaction('kept', 'readwrite');
    transaction.objectStore('kept').put(value, name);
    await finished(transaction);
  }

  async kept<T>(name: string): Promise<T | undefined> {
    return request(this.db.transaction('kept').objectStore('kept').get(name) as IDBRequest<T | undefined>);
  }

  /** Forgets everything: this phone is no longer the courier's. */
  async clear(): Promise<void> {
    const names = ['fixes', 'steps', 'kept'];
    const transaction = this.db.transaction(names, 'readwrite');
    for (const name of names) transaction.objectStore(name).clear();
    await finished(transaction);
  }
}
