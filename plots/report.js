/*
 * Timelines: predicted above measured, one time axis. Wheel, pinch and the buttons zoom; dragging and the arrow keys move;
 * pointing at an instruction (or tapping it) shows it and its twin on the other side.
 *
 * A .timeline has its data in a JSON script:
 *   {kinds, payloads, waits, windows: [{name, minibatches, sides: [{label, devices, lanes, length, spans}]}]}
 * with times in microseconds from the window's start. `spans` is flat, FIELDS numbers a span.
 */
'use strict';
const LANE = 0, KIND = 1, STAGE = 2, MINIBATCH = 3, MICROBATCH = 4, VERSION = 5, PAYLOAD = 6, START = 7, LENGTH = 8, FIELDS = 9;
const LETTERS = {forward: 'F', backward: 'B', update: 'U', evaluate: 'E'};
const NAMES = {forward: 'forward pass', backward: 'backward pass', update: 'update of the weights', evaluate: 'evaluation',
    transfer: 'copy', wait: 'waiting'};
const LEFT = 76, TOP = 6, CAPTION = 26, AXIS = 40;

/* Microseconds as people write them. */
function duration(us) {
    const [x, unit] = us >= 1e6 ? [us / 1e6, 's'] : us >= 1e3 ? [us / 1e3, 'ms'] : [us, 'µs'];
    return (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2)) + '\u202f' + unit;
}

/* A step of 1, 2 or 5 times a power of ten, of at least `least`. */
function niceStep(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map(f => f * power).find(step => step >= least);
}

class Timeline {
    constructor(element) {
        this.data = JSON.parse(element.querySelector('script').textContent);
        this.canvas = element.querySelector('canvas');
        this.tip = element.querySelector('.tip');
        this.stretch = false;
        this.pointers = new Map();
        this.listen(element);
        this.choose(0);
    }

    listen(element) {
        const on = (selector, type, handler) => element.querySelector(selector)?.addEventListener(type, handler);
        on('.in', 'click', () => this.zoom(0.5, 0.5));
        on('.out', 'click', () => this.zoom(2, 0.5));
        on('.all', 'click', () => this.show(0, this.length));
        on('select', 'change', event => this.choose(Number(event.target.value)));
        on('.stretch', 'change', event => { this.stretch = event.target.checked; this.measure(); this.show(0, this.length); });
        const canvas = this.canvas;
        canvas.addEventListener('wheel', event => this.wheel(event), {passive: false});
        canvas.addEventListener('pointerdown', event => this.down(event));
        canvas.addEventListener('pointermove', event => this.move(event));
        for (const type of ['pointerup', 'pointercancel']) canvas.addEventListener(type, event => this.up(event));
        canvas.addEventListener('pointerleave', () => this.point(null));
        canvas.addEventListener('keydown', event => this.key(event));
        new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
        matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    }

    /* Shows a window of the data. */
    choose(index) {
        this.sides = this.data.windows[index].sides;
        for (const side of this.sides) {
            side.order ??= this.orderOf(side);
            side.index ??= this.indexOf(side);
        }
        this.measure();
        this.focus = null;
        this.show(0, this.length * Math.min(1, 16 / this.data.windows[index].minibatches));
    }

    /* Gives each span a key, which its twin on the other side has too: what it is, and the how-many-th of these. */
    indexOf(side) {
        const index = new Map(), seen = new Map();
        side.keys = new Map();
        for (const at of side.order.flat()) {
            const name = [KIND, STAGE, MINIBATCH, MICROBATCH, PAYLOAD].map(field => side.spans[at + field]).join(' ');
            const times = (seen.get(name) ?? 0) + 1, key = name + ' ' + times;
            seen.set(name, times);
            side.keys.set(at, key);
            index.set(key, at);
        }
        return index;
    }

    /* Spans of each lane by their start, for drawing only what is seen. */
    orderOf(side) {
        const lanes = side.lanes.map(() => []);
        for (let at = 0; at < side.spans.length; at += FIELDS) lanes[side.spans[at + LANE]].push(at);
        for (const lane of lanes) lane.sort((a, b) => side.spans[a + START] - side.spans[b + START]);
        return lanes;
    }

    /* The axis' length, and each side's scale on it. */
    measure() {
        this.length = Math.max(...this.sides.map(side => side.length));
        for (const side of this.sides) side.scale = this.stretch ? this.length / side.length : 1;
    }

    show(from, to) {
        const least = this.length / 2000;
        const span = Math.min(this.length, Math.max(least, to - from));
        this.from = Math.max(0, Math.min(from, this.length - span));
        this.to = this.from + span;
        this.draw();
    }

    /* Zooms about a place, 0 (left) to 1 (right). */
    zoom(factor, place) {
        const span = this.to - this.from, at = this.from + place * span;
        this.show(at - place * span * factor, at + (1 - place) * span * factor);
    }

    placeOf(event) {
        const box = this.canvas.getBoundingClientRect();
        return {x: event.clientX - box.left, y: event.clientY - box.top,
            share: Math.max(0, Math.min(1, (event.clientX - box.left - LEFT) / (box.width - LEFT)))};
    }

    wheel(event) {
        if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
            const by = (event.deltaX || event.deltaY) / (this.canvas.clientWidth - LEFT) * (this.to - this.from);
            this.show(this.from + by, this.to + by);
        } else {
            this.zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 300), this.placeOf(event).share);
        }
        event.preventDefault();
    }

    down(event) {
        this.pointers.set(event.pointerId, event);
        this.canvas.setPointerCapture(event.pointerId);
        this.dragged = false;
    }

    move(event) {
        const before = this.pointers.get(event.pointerId);
        if (!before) {
            this.point(this.placeOf(event));
            return;
        }
        const span = this.to - this.from, wide = this.canvas.clientWidth - LEFT;
        if (this.pointers.size === 2) {
            const [other] = [...this.pointers.values()].filter(one => one.pointerId !== event.pointerId);
            const was = Math.abs(before.clientX - other.clientX), is = Math.abs(event.clientX - other.clientX);
            if (was > 8 && is > 8) this.zoom(was / is, this.placeOf(other).share);
        } else if (event.clientX !== before.clientX) {
            const by = (before.clientX - event.clientX) / wide * span;
            this.show(this.from + by, this.to + by);
        }
        this.dragged = this.dragged || Math.abs(event.clientX - before.clientX) > 2;
        this.pointers.set(event.pointerId, event);
        if (this.dragged) this.point(null);
    }

    up(event) {
        this.pointers.delete(event.pointerId);
        if (!this.dragged && event.type === 'pointerup') this.point(this.placeOf(event));
    }

    key(event) {
        const by = (this.to - this.from) / 5;
        const actions = {ArrowLeft: () => this.show(this.from - by, this.to - by), '+': () => this.zoom(0.5, 0.5),
            ArrowRight: () => this.show(this.from + by, this.to + by), '-': () => this.zoom(2, 0.5),
            Home: () => this.show(0, this.length), '0': () => this.show(0, this.length)};
        if (!actions[event.key]) return;
        actions[event.key]();
        event.preventDefault();
    }

    /* Rows: devices are tall, links low. */
    layout() {
        const most = Math.max(...this.sides.map(side => side.devices));
        const tall = most <= 4 ? 34 : most <= 8 ? 26 : 18, low = Math.round(0.55 * tall);
        let y = TOP;
        for (const side of this.sides) {
            side.caption = y + 17;
            y += CAPTION;
            side.top = y;
            side.rows = side.lanes.map((name, lane) => {
                const height = lane < side.devices ? tall : low, row = {y: y + 1, height: height - 2};
                y += height;
                return row;
            });
            side.bottom = y;
            y += 8;
        }
        return y + AXIS;
    }

    x(side, time) {
        return LEFT + (time * side.scale - this.from) / (this.to - this.from) * (this.wide - LEFT);
    }

    draw() {
        const canvas = this.canvas, ratio = window.devicePixelRatio || 1, high = this.layout();
        this.wide = canvas.parentElement.clientWidth;
        if (!this.wide) return;
        canvas.style.height = high + 'px';
        canvas.width = Math.round(this.wide * ratio);
        canvas.height = Math.round(high * ratio);
        const style = getComputedStyle(document.documentElement);
        this.colour = name => style.getPropertyValue('--' + name).trim();
        const pen = canvas.getContext('2d');
        pen.scale(ratio, ratio);
        pen.clearRect(0, 0, this.wide, high);
        this.font = getComputedStyle(document.body).fontFamily;
        this.drawAxis(pen, high);
        for (const side of this.sides) this.drawSide(pen, side);
    }

    drawAxis(pen, high) {
        const span = this.to - this.from, step = niceStep(span / Math.max(2, (this.wide - LEFT) / 90));
        const per = this.to >= 2e6 ? 1e6 : this.to >= 2e3 ? 1e3 : 1, unit = per === 1e6 ? 's' : per === 1e3 ? 'ms' : 'µs';
        const digits = Math.max(0, -Math.floor(Math.log10(step / per) + 1e-9));
        pen.font = '12px ' + this.font;
        pen.textAlign = 'center';
        pen.textBaseline = 'top';
        for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
            const x = LEFT + (at - this.from) / span * (this.wide - LEFT);
            pen.fillStyle = this.colour('rule');
            pen.fillRect(x, TOP, 1, high - AXIS - TOP);
            pen.fillStyle = this.colour('muted');
            if (x < this.wide - 14) pen.fillText((at / per).toFixed(digits), x, high - AXIS + 4);
        }
        pen.fillText('time from the start of the window, ' + unit, LEFT + (this.wide - LEFT) / 2, high - AXIS + 21);
    }

    drawSide(pen, side) {
        pen.textBaseline = 'alphabetic';
        pen.textAlign = 'left';
        pen.fillStyle = this.colour('ink');
        pen.font = '600 13px ' + this.font;
        pen.fillText(side.label, LEFT, side.caption);
        const label = pen.measureText(side.label).width;
        pen.font = '13px ' + this.font;
        pen.fillStyle = this.colour('muted');
        pen.fillText(duration(side.length) + (this.stretch && side.scale !== 1 ? ' (stretched)' : ''), LEFT + label + 12, side.caption);
        pen.textBaseline = 'middle';
        side.lanes.forEach((name, lane) => {
            const row = side.rows[lane];
            pen.font = (lane < side.devices ? '12px ' : '11px ') + this.font;
            pen.fillStyle = this.colour('muted');
            pen.fillText(name, 0, row.y + row.height / 2);
            this.drawLane(pen, side, lane, row);
        });
    }

    drawLane(pen, side, lane, row) {
        const spans = side.spans, order = side.order[lane];
        pen.save();
        pen.beginPath();
        pen.rect(LEFT, row.y - 2, this.wide - LEFT, row.height + 4);
        pen.clip();
        pen.textAlign = 'center';
        pen.font = '11px ' + this.font;
        for (const at of order) {
            const left = this.x(side, spans[at + START]), right = this.x(side, spans[at + START] + spans[at + LENGTH]);
            if (right < LEFT) continue;
            if (left > this.wide) break;
            this.drawSpan(pen, side, at, row, left, right);
        }
        pen.restore();
    }

    drawSpan(pen, side, at, row, left, right) {
        const kind = this.data.kinds[side.spans[at + KIND]], wide = right - left;
        pen.fillStyle = this.colour(kind);
        pen.fillRect(left, row.y, Math.max(0.5, wide > 4 ? wide - 0.8 : wide), row.height);
        if (this.focus === side.keys.get(at)) {
            pen.strokeStyle = this.colour('ink');
            pen.lineWidth = 2;
            pen.strokeRect(left, row.y, Math.max(1, wide - 0.8), row.height);
        }
        if (row.height < 14 || !LETTERS[kind]) return;
        const name = this.nameOf(side.spans, at), short = String(side.spans[at + MINIBATCH]);
        const text = wide > 6.6 * name.length + 6 ? name : wide > 6.6 * short.length + 4 ? short : '';
        pen.fillStyle = kind === 'forward' || kind === 'update' ? '#ffffff' : '#20242b';
        if (text) pen.fillText(text, Math.max(left, LEFT) + (Math.min(right, this.wide) - Math.max(left, LEFT)) / 2, row.y + row.height / 2 + 0.5);
    }

    /* "0F3": stage, letter, minibatch; "0F3.1" with microbatches. */
    nameOf(spans, at) {
        const kind = this.data.kinds[spans[at + KIND]];
        const micro = this.data.microbatches > 1 && kind !== 'update' ? '.' + spans[at + MICROBATCH] : '';
        return spans[at + STAGE] + (LETTERS[kind] ?? ' ' + kind + ' ') + spans[at + MINIBATCH] + micro;
    }

    /* The span at a place of the canvas: [side, offset], or null. */
    find(place) {
        for (const side of this.sides) {
            const lane = side.rows.findIndex(row => place.y >= row.y - 1 && place.y <= row.y + row.height + 1);
            if (lane < 0 || place.x < LEFT) continue;
            let best = null;
            for (const at of side.order[lane]) {
                const left = this.x(side, side.spans[at + START]), right = this.x(side, side.spans[at + START] + side.spans[at + LENGTH]);
                if (left - 1 <= place.x && place.x <= right + 1) best = [side, at];
                if (left > place.x + 1) break;
            }
            if (best) return best;
        }
        return null;
    }

    point(place) {
        const found = place && this.find(place), focus = found ? found[0].keys.get(found[1]) : null;
        this.tip.hidden = !found;
        if (found) {
            this.tip.replaceChildren(...this.describe(...found));
            const x = Math.min(place.x + 14, this.wide - this.tip.offsetWidth - 4);
            this.tip.style.left = Math.max(0, x) + 'px';
            this.tip.style.top = place.y + 18 + 'px';
        }
        if (focus !== this.focus) {
            this.focus = focus;
            this.draw();
        }
    }

    describe(side, at) {
        const spans = side.spans, kind = this.data.kinds[spans[at + KIND]], waits = kind === 'wait',
            payload = this.data[waits ? 'waits' : 'payloads'][spans[at + PAYLOAD]];
        const title = document.createElement('b'), list = document.createElement('dl');
        const row = (name, value) => {
            const dt = document.createElement('dt'), dd = document.createElement('dd');
            dt.textContent = name;
            dd.textContent = value;
            list.append(dt, dd);
        };
        title.textContent = LETTERS[kind] ? this.nameOf(spans, at) : NAMES[kind] + (payload ? (waits ? ' for ' : ': ') + payload : '');
        if (LETTERS[kind]) row('instruction', NAMES[kind]);
        row('on', side.lanes[spans[at + LANE]]);
        row('stage', spans[at + STAGE]);
        row('minibatch', spans[at + MINIBATCH]);
        if (this.data.microbatches > 1) row('microbatch', spans[at + MICROBATCH]);
        if (spans[at + VERSION] >= 0 && LETTERS[kind])
            row(kind === 'update' ? 'makes weight version' : 'weight version', spans[at + VERSION]);
        const key = side.keys.get(at), lengths = {};
        for (const one of this.sides) {
            const twin = one === side ? at : one.index.get(key);
            row(one.label, twin === undefined ? 'none here' : duration(one.spans[twin + LENGTH]));
            if (twin !== undefined) lengths[one.label] = one.spans[twin + LENGTH];
        }
        if (lengths.predicted && lengths.measured)
            row('error', ((lengths.predicted / lengths.measured - 1) * 100).toFixed(1).replace(/^(?!-)/, '+') + '\u202f%');
        row('starts at', duration(spans[at + START]));
        return [title, list];
    }
}

for (const element of document.querySelectorAll('.timeline')) element.timeline = new Timeline(element);
