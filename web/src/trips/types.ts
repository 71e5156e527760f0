/** Trips, stops and fixes as the API tells them. */

export interface Trip {
  id: string;
  courier_id: string;
  delivery_id?: string | null;
  start_time: string;
  /** `null` while under way. */
  end_time: string | null;
  distance_m: number;
  moving_s: number;
  stop_count?: number | null;
  mean_speed_mps?: number | null;
  max_speed_mps?: number | null;
  stops?: Stop[];
}

export interface Stop {
  lat: number;
  lon: number;
  start_time: string;
  end_time: string | null;
}

export interface TrackFix {
  fix_time: string;
  lat: number;
  lon: number;
  speed_mps?: number | null;
  heading_deg?: number | null;
}
