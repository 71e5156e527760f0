/** A list of any length of which only the visible rows exist. Rows have one height. */
import { For, createMemo, createSignal, onCleanup, onMount, type JSX } from 'solid-js';

const OVERSCAN = 6;

export function VirtualList<T>(props: {
  items: T[];
  rowHeight: number;
  label: string;
  /** Called when the end comes near: time to ask for more. */
  onNearEnd?: () => void;
  children: (item: T) => JSX.Element;
}): JSX.Element {
  let scroller!: HTMLDivElement;
  const [top, setTop] = createSignal(0);
  const [height, setHeight] = createSignal(600);
  onMount(() => {
    const observer = new ResizeObserver(() => setHeight(scroller.clientHeight));
    observer.observe(scroller);
    onCleanup(() => observer.disconnect());
  });
  const first = createMemo(() => Math.max(0, Math.floor(top() / props.rowHeight) - OVERSCAN));
  const last = createMemo(() => Math.min(props.items.length, Math.ceil((top() + height()) / props.rowHeight) + OVERSCAN));
  const visible = createMemo(() => props.items.slice(first(), last()));
  const scrolled = (): void => {
    setTop(scroller.scrollTop);
    if (last() > props.items.length - 20) props.onNearEnd?.();
  };
  return (
    <div class="scroll" ref={scroller} onScroll={scrolled} tabindex="0" role="list" aria-label={props.label}>
      <div style={{ height: `${first() * props.rowHeight}px` }} />
      <For each={visible()}>{(item) => <div role="listitem">{props.children(item)}</div>}</For>
      <div style={{ height: `${(props.items.length - last()) * props.rowHeight}px` }} />
    </div>
  );
}
