/** English. The keys of this dictionary are the keys of every dictionary; each beginning of a key has one file. */
import common from './en/common';
import courier from './en/courier';
import customer from './en/customer';
import events from './en/events';
import fleet from './en/fleet';
import stream from './en/stream';
import trips from './en/trips';

const en = { ...common, ...customer, ...courier, ...fleet, ...trips, ...stream, ...events };

export type Key = keyof typeof en;
export type Dictionary = Record<Key, string>;
/** The part before `_one` and `_other` of the keys that have both. */
export type PluralKey = {
  [K in Key]: K extends `${infer Base}_one` ? (`${Base}_other` extends Key ? Base : never) : never;
}[Key];

const dictionary: Dictionary = en;
export default dictionary;
