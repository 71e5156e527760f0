/**
 * Couriers as one instanced draw: the vertex shader moves them between two places, the fragment
 * shader cuts their shape, so that no status is told by colour alone: moving = arrow, waiting = disc,
 * quiet = hollow disc, problem = ringed. One upload a tick, no work for the CPU in between.
 */
import type { CustomLayerInterface, CustomRenderMethodInput, Map as MapLibreMap } from 'maplibre-gl';
import type { Colors } from '../map/colors';
import { rgb } from '../map/colors';
import { spend } from '../live/shown';
import { FLOATS, mercatorX, mercatorY, type FleetStore } from '../live/fleetStore';

const VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec2 corner;
layout(location = 1) in vec4 way;
layout(location = 2) in vec4 rest;
uniform mat4 matrix;
uniform vec2 viewport;
uniform float now;
uniform float scale;
out vec2 at;
flat out int look;
flat out float turn;
out float alpha;
void main() {
  float start = rest.x, duration = rest.y;
  look = int(rest.w + 0.5);
  turn = radians(rest.z);
  float share = duration > 0.0 ? clamp((now - start) / duration, 0.0, 1.0) : 1.0;
  alpha = duration > 0.0 ? 1.0 : clamp((now - start) / 0.4, 0.0, 1.0);
  vec4 place = matrix * vec4(mix(way.xy, way.zw, share), 0.0, 1.0);
  bool selected = (look & 8) != 0;
  bool ringed = (look & 16) != 0;
  float size = selected ? 28.0 : ringed ? 20.0 : 15.0;
  float reach = size * scale;
  at = corner * size;
  place.xy += corner * vec2(1.0, -1.0) * reach * 2.0 / viewport * place.w;
  gl_Position = (look & 32) != 0 ? vec4(2.0, 2.0, 2.0, 1.0) : place;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
flat in int look;
flat in float turn;
in float alpha;
uniform vec3 moving, waiting, quiet, problem, halo;
out vec4 color;

float arrow(vec2 p) {
  // A kite with a notch: two half planes for the sides, one corner cut out below.
  p.x = abs(p.x);
  float side = dot(p - vec2(0.0, -11.0), normalize(vec2(20.0, -7.6)));
  float notch = dot(p - vec2(0.0, 5.0), normalize(vec2(-0.52, 1.0)));
  return max(side, notch);
}

void over(inout vec4 below, vec3 paint, float cover) {
  below = mix(below, vec4(paint, 1.0), clamp(cover, 0.0, 1.0));
}

float inside(float distance) {
  return 0.5 - distance;
}

void main() {
  int status = look & 7;
  bool selected = (look & 8) != 0;
  bool ringed = (look & 16) != 0;
  float size = selected ? 32.0 / 24.0 : 1.0;
  vec2 p = at / size;
  float c = cos(turn), s = sin(turn);
  vec2 turned = vec2(c * p.x + s * p.y, -s * p.x + c * p.y);
  float shape = (status == 1 || status == 2) ? arrow(turned) : length(p) - (status == 5 ? 7.0 : 9.0);
  vec3 paint = (status == 1 || status == 2) ? moving : status == 3 ? waiting : quiet;
  if (status == 0) paint = moving;
  vec4 sum = vec4(0.0);
  float ring = length(p) - (selected ? 17.0 : 16.0);
  if (ringed || selected) {
    vec3 band = ringed ? problem : paint;
    over(sum, halo, inside((abs(ring) - 2.6) * size));
    over(sum, band, inside((abs(ring) - 1.3) * size));
  }
  over(sum, halo, inside((shape - 2.0) * size));
  over(sum, ringed ? problem : paint, inside(shape * size));
  // To the pick-up: an arrow with a hollow heart. Quiet and offline: hollow discs. Idle: a dot in a ring.
  if (status == 1) over(sum, halo, inside((arrow(turned * 1.0) + 3.2) * size));
  if (status == 4) over(sum, halo, inside((length(p) - 6.0) * size));
  if (status == 5) over(sum, halo, inside((length(p) - 5.0) * size));
  if (status == 0) { over(sum, halo, inside((length(p) - 6.8) * size)); over(sum, paint, inside((length(p) - 3.6) * size)); }
  color = vec4(sum.rgb * sum.a, sum.a) * alpha * (status == 5 ? 0.75 : 1.0);
}`;

export class CourierLayer implements CustomLayerInterface {
  readonly id = 'couriers';
  readonly type = 'custom' as const;
  readonly renderingMode = '2d' as const;
  private map: MapLibreMap | undefined;
  private program: WebGLProgram | undefined;
  private vao: WebGLVertexArrayObject | undefined;
  private instances: WebGLBuffer | undefined;
  private capacity = 0;
  private readonly uniforms = new Map<string, WebGLUniformLocation | null>();

  constructor(
    private readonly store: FleetStore,
    private readonly now: () => number,
    private readonly colors: Colors,
    private readonly still: boolean,
  ) {}

  onAdd(map: MapLibreMap, gl: WebGL2RenderingContext): void {
    this.map = map;
    this.program = link(gl);
    this.vao = gl.createVertexArray();
    gl.bindVertexArray(this.vao);
    const corners = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    this.instances = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.instances);
    for (const [location, offset] of [[1, 0], [2, 16]] as const) {
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, 4, gl.FLOAT, false, FLOATS * 4, offset);
      gl.vertexAttribDivisor(location, 1);
    }
    gl.bindVertexArray(null);
    this.capacity = 0;
    this.store.changed = true;
  }

  onRemove(_map: MapLibreMap, gl: WebGL2RenderingContext): void {
    if (this.program) gl.deleteProgram(this.program);
    if (this.vao) gl.deleteVertexArray(this.vao);
    if (this.instances) gl.deleteBuffer(this.instances);
  }

  render(gl: WebGL2RenderingContext, { defaultProjectionData }: CustomRenderMethodInput): void {
    if (!this.program || !this.vao || this.store.count === 0) return;
    this.keepOriginNear();
    gl.bindVertexArray(this.vao);
    if (this.store.changed) this.upload(gl);
    gl.useProgram(this.program);
    gl.uniformMatrix4fv(this.uniform(gl, 'matrix'), false, this.matrix(defaultProjectionData.mainMatrix as ArrayLike<number>));
    gl.uniform2f(this.uniform(gl, 'viewport'), gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.uniform1f(this.uniform(gl, 'now'), this.still ? Number.MAX_SAFE_INTEGER : this.now() / 1000);
    gl.uniform1f(this.uniform(gl, 'scale'), this.map?.getPixelRatio() ?? 1);
    for (const name of ['problem', 'waiting', 'quiet', 'halo'] as const) gl.uniform3fv(this.uniform(gl, name), rgb(this.colors[name]));
    gl.uniform3fv(this.uniform(gl, 'moving'), rgb(this.colors.accent));
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.STENCIL_TEST);
    gl.disable(gl.CULL_FACE);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.store.count);
    gl.bindVertexArray(null);
  }

  private upload(gl: WebGL2RenderingContext): void {
    const began = performance.now();
    const { floats, count } = this.store;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.instances!);
    if (floats.byteLength > this.capacity) {
      this.capacity = floats.byteLength;
      gl.bufferData(gl.ARRAY_BUFFER, this.capacity, gl.DYNAMIC_DRAW);
    }
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, floats, 0, count * FLOATS);
    this.store.changed = false;
    spend(began);
  }

  /** Single precision holds centimetres only near the origin. */
  private keepOriginNear(): void {
    const center = this.map!.getCenter();
    const x = mercatorX(center.lng);
    const y = mercatorY(center.lat);
    if (Math.hypot(x - this.store.originX, y - this.store.originY) > 0.002) this.store.moveOrigin(x, y);
  }

  /** The map's matrix with the store's origin folded in, in double precision. */
  private matrix(m: ArrayLike<number>): Float32Array {
    const out = Float32Array.from(m);
    const { originX: x, originY: y } = this.store;
    for (let row = 0; row < 4; row += 1) out[12 + row] = m[row]! * x + m[4 + row]! * y + m[12 + row]!;
    return out;
  }

  private uniform(gl: WebGL2RenderingContext, name: string): WebGLUniformLocation | null {
    if (!this.uniforms.has(name)) this.uniforms.set(name, gl.getUniformLocation(this.program!, name));
    return this.uniforms.get(name) ?? null;
  }
}

function link(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(type)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) ?? 'shader');
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? 'program');
  return program;
}
