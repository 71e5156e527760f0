/**
 * Server-sent events over `fetch`, because `EventSource` cannot carry an `Authorization` header.
 * Only the `data` field is used: every event is one JSON message of the channel.
 */

/** Splits a text stream into the data of complete events; keeps the rest for the next chunk. */
export class EventSplitter {
  private rest = '';

  /** Returns the data of every event completed by this chunk. */
  push(chunk: string): string[] {
    this.rest += chunk;
    const events: string[] = [];
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.rest);
      if (!end) return events;
      const block = this.rest.slice(0, end.index);
      this.rest = this.rest.slice(end.index + end[0].length);
      const data = block
        .split(/\r\n|\n|\r/)
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(line[5] === ' ' ? 6 : 5));
      if (data.length > 0) events.push(data.join('\n'));
    }
  }
}

/** Reads events until the server ends the stream or `signal` aborts; throws on a broken connection. */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  onData: (data: string) => void,
): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const splitter = new EventSplitter();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const data of splitter.push(decoder.decode(value, { stream: true }))) onData(data);
  }
}
