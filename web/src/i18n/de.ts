/** Deutsch. */
import common from './de/common';
import courier from './de/courier';
import customer from './de/customer';
import events from './de/events';
import fleet from './de/fleet';
import stream from './de/stream';
import trips from './de/trips';
import type { Dictionary } from './en';

const de: Dictionary = { ...common, ...customer, ...courier, ...fleet, ...trips, ...stream, ...events };

export default de;
