/** What the parts of the fleet page share. */
import { createContext, useContext, type Accessor, type Setter } from 'solid-js';
import type { FleetStore } from '../live/fleetStore';
import type { Session } from '../net/api';
import type { Loaded } from '../ui/load';
import type { FleetMap } from './FleetMap';
import type { Attention, Geofence, Selection } from './types';

export interface Fleet {
  session: Session;
  store: FleetStore;
  map: Accessor<FleetMap | undefined>;
  selection: Accessor<Selection | undefined>;
  select: Setter<Selection | undefined>;
  /** What a courier is called, on the map or not. */
  nameOf: (id: string) => string;
  /** Moves the map to a courier, wherever they are. */
  goToCourier: (id: string) => Promise<void>;
  attention: Loaded<Attention[]>;
  geofences: Loaded<Geofence[]>;
  /** Counts up when deliveries have changed by a person's action: lists ask again. */
  deliveriesVersion: Accessor<number>;
  deliveriesChanged: () => void;
  /** Milliseconds since the epoch, once a second. */
  now: Accessor<number>;
}

const Context = createContext<Fleet>();

export const FleetProvider = Context.Provider;

export function useFleet(): Fleet {
  const fleet = useContext(Context);
  if (!fleet) throw new Error('outside the fleet page');
  return fleet;
}
