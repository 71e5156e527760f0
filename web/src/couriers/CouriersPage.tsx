/** Many couriers at once: from a file, and onto a sheet of codes that is printed. */
import { For, Show, createMemo, createSignal, type JSX } from 'solid-js';
import { t, tn } from '../i18n';
import { ApiError, call, create, get, type Page } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { attempt, toast } from '../ui/toast';
import { View } from '../ui/View';
import { JoinSheet, type SheetItem } from './JoinSheet';

interface Courier {
  id: string;
  name?: string | null;
  tags: string[];
}

interface Imported {
  created: number;
  updated: number;
}

/** As many codes as one request makes. */
const MOST = 200;
const COLUMNS = 'id,name,phone,vehicle,tags';

/** The couriers that the search finds, all pages of them. */
async function found(q: string, signal: AbortSignal): Promise<Courier[]> {
  const couriers: Courier[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<Courier> = await get<Page<Courier>>('/v1/couriers', { q, limit: 500, cursor }, signal);
    couriers.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && couriers.length < 5_000);
  return couriers;
}

export function CouriersPage(): JSX.Element {
  const [q, setQ] = createSignal('');
  const couriers = load(q, found, { keep: true });
  const [chosen, setChosen] = createSignal<ReadonlySet<string>>(new Set());
  const [sheet, setSheet] = createSignal<SheetItem[]>();
  const [refusal, setRefusal] = createSignal<string>();
  const choose = (ids: string[], on: boolean): void => {
    setChosen((before) => {
      const after = new Set(before);
      for (const id of ids) on ? after.add(id) : after.delete(id);
      return after;
    });
  };
  const shown = createMemo(() => (couriers.value() ?? []).map((one) => one.id));
  const all = createMemo(() => shown().length > 0 && shown().every((id) => chosen().has(id)));
  const take = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    setRefusal(undefined);
    try {
      // Browsers name the type by what is installed: the server wants to know it as CSV.
      const body = new Blob([file], { type: 'text/csv' });
      const { created, updated } = await call<Imported>('POST', '/v1/couriers/import', { body });
      toast(t('bulk.imported', { created, updated }));
      couriers.reload();
    } catch (cause) {
      if (!(cause instanceof ApiError)) throw cause;
      setRefusal(cause.message);
    }
  };
  const print = (): Promise<boolean> =>
    attempt(async () => setSheet((await create<{ items: SheetItem[] }>('/v1/join-codes', { couriers: [...chosen()] })).items));
  return (
    <div class="page">
      <div class="inner bulk">
        <h1>{t('bulk.title')}</h1>
        <section class="card stack">
          <h2>{t('bulk.file')}</h2>
          <p class="muted">{t('bulk.file_say')} <code>{COLUMNS}</code></p>
          <label class="field"><span>{t('bulk.choose_file')}</span><input class="input" type="file" accept=".csv,text/csv" onChange={(event) => void take(event.currentTarget.files?.[0]).then(() => (event.target.value = ''))} /></label>
          <Show when={refusal()}>{(why) => <p class="problem-text" role="alert">{why()}</p>}</Show>
        </section>
        <section class="card stack">
          <div class="row between wrap">
            <h2>{t('bulk.sheet')}</h2>
            <button type="button" class="button primary" disabled={chosen().size === 0 || chosen().size > MOST} onClick={() => void print()}>
              {tn('bulk.make', chosen().size)}
            </button>
          </div>
          <p class="muted">{t('bulk.sheet_say')}</p>
          <Show when={chosen().size > MOST}><p class="problem-text" role="alert">{t('bulk.too_many', { n: MOST })}</p></Show>
          <label class="field"><span>{t('bulk.search')}</span><input class="input" type="search" value={q()} onInput={(event) => setQ(event.currentTarget.value)} /></label>
          <View data={couriers} isEmpty={(list) => list.length === 0} empty={<p>{t('bulk.none')}</p>}>
            {(list) => (
              <>
                <label class="row"><input type="checkbox" checked={all()} onChange={(event) => choose(shown(), event.currentTarget.checked)} /><strong>{tn('couriers.count', list().length)}</strong></label>
                <ul class="pick">
                  <For each={list()}>
                    {(courier) => (
                      <li>
                        <label class="row">
                          <input type="checkbox" checked={chosen().has(courier.id)} onChange={(event) => choose([courier.id], event.currentTarget.checked)} />
                          <span class="grow truncate">{courier.name || courier.id}</span>
                          <span class="muted small truncate">{[courier.id, ...courier.tags].join(' · ')}</span>
                        </label>
                      </li>
                    )}
                  </For>
                </ul>
              </>
            )}
          </View>
        </section>
        <a class="button plain" href="/"><Icon name="back" size={18} />{t('nav.fleet')}</a>
      </div>
      <Show when={sheet()}>{(items) => <JoinSheet items={items()} close={() => setSheet(undefined)} />}</Show>
    </div>
  );
}
