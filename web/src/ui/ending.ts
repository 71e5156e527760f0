/** Characters of an id that a line of a list has room for. */
const ROOM = 14;

/** An id as a line of a list shows it: ids of one courier's deliveries differ at their end, not at their beginning. */
export function ending(id: string): string {
  return id.length <= ROOM ? id : `…${id.slice(1 - ROOM)}`;
}
