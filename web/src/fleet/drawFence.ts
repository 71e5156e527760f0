/** Drawing a fence on the map with terra-draw; loaded only when somebody draws. */
import { TerraDraw, TerraDrawCircleMode, TerraDrawPolygonMode } from 'terra-draw';
import { TerraDrawMapLibreGLAdapter } from 'terra-draw-maplibre-gl-adapter';
import { circleOf } from '../map/shapes';
import type { FleetMap } from './FleetMap';
import type { Geofence } from './types';

export type Shape = Pick<Geofence, 'circle' | 'polygon'>;

/** Starts drawing; calls `drawn` after every finished shape. Answers with a function that ends it. */
export function drawFence(fleet: FleetMap, kind: 'circle' | 'polygon', drawn: (shape: Shape) => void): () => void {
  const accent = getComputedStyle(document.documentElement).getPropertyValue('--draw-color').trim() as `#${string}`;
  const styles = { fillColor: accent, fillOpacity: 0.15, outlineColor: accent, outlineWidth: 2 };
  const draw = new TerraDraw({
    adapter: new TerraDrawMapLibreGLAdapter({ map: fleet.map }),
    modes: [new TerraDrawCircleMode({ styles }), new TerraDrawPolygonMode({ styles })],
  });
  draw.start();
  draw.setMode(kind);
  fleet.drawing = true;
  draw.on('finish', (id) => {
    for (const feature of draw.getSnapshot()) {
      if (feature.id !== undefined && feature.id !== id) draw.removeFeatures([feature.id]);
    }
    const geometry = draw.getSnapshotFeature(id)?.geometry;
    if (geometry?.type !== 'Polygon') return;
    drawn(kind === 'circle' ? { circle: circleOf(geometry.coordinates[0] ?? []) } : { polygon: { type: 'Polygon', coordinates: geometry.coordinates } });
  });
  return () => {
    fleet.drawing = false;
    draw.stop();
  };
}
