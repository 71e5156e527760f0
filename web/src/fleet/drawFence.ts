/** Drawing a fence on the map with terra-draw; loaded only when somebody draws. */
import { TerraDraw, TerraDrawCircleMode, TerraDrawPolygonMode } from 'terra-draw';
import { TerraDrawMapLibreGLAdapter } from 'terra-draw-maplibre-gl-adapter';
import { show } from '../live/shown';
import { circleOf, circleRing } from '../map/shapes';
import type { FleetMap } from './FleetMap';
import type { Geofence } from './types';

export type Shape = Pick<Geofence, 'circle' | 'polygon'>;

export interface Drawing {
  /** Puts a circle of given size there instead of what was drawn. */
  circle: (circle: NonNullable<Geofence['circle']>) => void;
  end: () => void;
}

/** Starts drawing; calls `drawn` after every finished shape. */
export function drawFence(fleet: FleetMap, kind: 'circle' | 'polygon', drawn: (shape: Shape) => void): Drawing {
  const accent = getComputedStyle(document.documentElement).getPropertyValue('--draw-color').trim() as `#${string}`;
  const styles = { fillColor: accent, fillOpacity: 0.15, outlineColor: accent, outlineWidth: 2 };
  const draw = new TerraDraw({
    adapter: new TerraDrawMapLibreGLAdapter({ map: fleet.map }),
    modes: [new TerraDrawCircleMode({ styles }), new TerraDrawPolygonMode({ styles })],
  });
  draw.start();
  draw.setMode(kind);
  fleet.drawing = true;
  show({ drawing: true });
  draw.on('finish', (id) => {
    for (const feature of draw.getSnapshot()) {
      if (feature.id !== undefined && feature.id !== id) draw.removeFeatures([feature.id]);
    }
    const geometry = draw.getSnapshotFeature(id)?.geometry;
    if (geometry?.type !== 'Polygon') return;
    drawn(kind === 'circle' ? { circle: circleOf(geometry.coordinates[0] ?? []) } : { polygon: { type: 'Polygon', coordinates: geometry.coordinates } });
  });
  return {
    circle: ({ lat, lon, radius_m }) => {
      draw.clear();
      const ring = circleRing(lat, lon, radius_m).map((corner) => corner.map((degrees) => Number(degrees.toFixed(9))));
      draw.addFeatures([{ type: 'Feature', properties: { mode: 'circle' }, geometry: { type: 'Polygon', coordinates: [ring] } }]);
    },
    end: () => {
      fleet.drawing = false;
      show({ drawing: false });
      draw.stop();
    },
  };
}
