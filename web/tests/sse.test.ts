import { describe, expect, it } from 'vitest';
import { EventSplitter } from '../src/net/sse';

describe('server-sent events', () => {
  it.each([1, 2, 3, 7, 1000])('come out whole from chunks of %i', (size) => {
    const text = ': hello\n\ndata: {"a":1}\n\nid: 4\nevent: fix\ndata: one\ndata: two\n\ndata:tight\r\n\r\n';
    const splitter = new EventSplitter();
    const events: string[] = [];
    for (let at = 0; at < text.length; at += size) events.push(...splitter.push(text.slice(at, at + size)));
    expect(events).toEqual(['{"a":1}', 'one\ntwo', 'tight']);
  });
});
