"""Pedestrians and cyclists: limbs between joints, in random walking and riding poses.

Each function takes a NumPy generator and returns a `Mesh` that stands on z = 0, heading along +x,
centred on the origin. Adult statures are normal, with mean 1.70 m and standard deviation 0.10 m
(NCD Risk Factor Collaboration, eLife 2016), one in six people is a child; segment lengths are
fractions of the stature after Winter, Biomechanics and Motor Control of Human Movement, 2009,
fig. 4.1.
"""

import numpy as np

from datasets.lidar.shapes import box, boxes, combine, ellipsoid, ring, tube

SKIN = 0.45


def _stature(rng, child=1 / 6):
    """Draw a body height in metres."""
    if rng.random() < child:
        return rng.uniform(1.05, 1.45)
    return float(np.clip(rng.normal(1.70, 0.10), 1.50, 1.98))


def _bend(start, length, angle, side=0.0):
    """Return the end of a limb segment that hangs from `start`, rotated by `angle` towards +x."""
    down = np.array((np.sin(angle), side, -np.cos(angle)))
    return np.asarray(start) + length * down / np.linalg.norm(down)


def pedestrian(rng):
    """Make a person who walks or stands, and may carry something."""
    tall = _stature(rng)
    girth = rng.uniform(0.85, 1.25) * tall / 1.7
    cloth, trousers = rng.uniform(0.1, 0.8, 2)
    swing = rng.uniform(0.0, 0.55) * rng.choice([-1, 1])  # no swing: the person stands
    lean = abs(swing) * 0.15
    hip = np.array((0, 0, 0.50 * tall))
    shoulder = hip + 0.32 * tall * np.array((np.sin(lean), 0, np.cos(lean)))
    parts = [
        tube(
            [hip + (0, 0, -0.03), (hip + shoulder) / 2, shoulder, shoulder + (0, 0, 0.04)],
            np.array((0.15, 0.145, 0.165, 0.07)) * girth,
            cloth,
            sides=10,
        ),
        ellipsoid(shoulder + (0.01, 0, 0.115 * tall), (0.10, 0.08, 0.12), SKIN),
    ]
    for side in (-1, 1):
        thigh, arm = side * swing, -side * swing * rng.uniform(0.6, 1.2)
        joint = hip + (0, side * 0.09 * girth, 0)
        knee = _bend(joint, 0.245 * tall, thigh)
        ankle = _bend(knee, 0.235 * tall, thigh - abs(swing) * (0.7 if thigh < 0 else 0.2))
        toe = ankle + (0.16, 0, -0.02)
        parts.append(tube([joint, knee, ankle], np.array((0.085, 0.06, 0.045)) * girth, trousers))
        parts.append(tube([ankle, toe], 0.04, trousers))
        joint = shoulder + (0, side * 0.19 * girth, -0.03)
        elbow = _bend(joint, 0.186 * tall, arm, 0.12 * side)
        hand = _bend(elbow, 0.2 * tall, arm + rng.uniform(0.05, 0.9))
        parts.append(tube([joint, elbow, hand], np.array((0.055, 0.045, 0.035)) * girth, cloth))
    carried = rng.choice(["nothing", "rucksack", "coat", "bag"], p=[0.5, 0.2, 0.15, 0.15])
    if carried == "rucksack":
        low, high = (-0.36, -0.15, hip[2] + 0.02 * tall), (-0.10, 0.15, shoulder[2] - 0.03)
        parts.append(box(low, high, cloth))
    elif carried == "coat":
        hem = hip + (0, 0, -rng.uniform(0.1, 0.22) * tall)
        parts.append(tube([hem, hip], np.array((0.24, 0.16)) * girth, cloth, sides=10))
    elif carried == "bag":
        y = rng.choice([-1, 1]) * 0.3 * girth
        bag = (-0.18, y - 0.06, 0.18 * tall), (0.18, y + 0.06, 0.38 * tall)
        parts.append(box(*bag, rng.uniform(0.1, 0.8)))
    body = combine(parts)
    lowest = body.vertices[:, 2].min()
    return body._replace(vertices=body.vertices - np.array((0, 0, lowest), "float32"))


def cyclist(rng):
    """Make a rider on a bicycle: wheels, frame, and a body between saddle, pedals and bar."""
    tall = _stature(rng, child=0.05)
    wheel = rng.uniform(0.31, 0.35)
    span = rng.uniform(0.98, 1.12)  # between the two axles
    rear, front = np.array((-span / 2, 0, wheel)), np.array((span / 2, 0, wheel))
    crank = np.array((-0.08, 0, 0.28))
    saddle = np.array((-0.26, 0, 0.28 + 0.40 * tall))
    bar = np.array((0.33, 0, saddle[2] + rng.uniform(-0.05, 0.18)))
    paint, cloth, trousers = rng.uniform(0.1, 0.8, 3)
    parts = [ring(end, wheel - 0.03, 0.025, 0.15) for end in (rear, front)]
    parts += [
        tube([a, b], 0.02, paint, sides=5)
        for a, b in (
            (rear, crank),
            (rear, saddle - (0, 0, 0.2)),
            (crank, saddle),
            (crank, (0.32, 0, 0.70)),
            (saddle - (0, 0, 0.2), (0.32, 0, 0.78)),
            (front, bar),
            (bar + (0, -0.27, 0), bar + (0, 0.27, 0)),
        )
    ]
    parts.append(box(saddle + (-0.14, -0.07, -0.05), saddle + (0.13, 0.07, 0.01), 0.15))
    hip = saddle + (0, 0, 0.08)
    lean = rng.uniform(0.15, 0.75)
    shoulder = hip + 0.31 * tall * np.array((np.sin(lean), 0, np.cos(lean)))
    head = shoulder + 0.13 * tall * np.array((np.sin(lean * 0.6), 0, np.cos(lean * 0.6)))
    parts.append(tube([hip, (hip + shoulder) / 2, shoulder], (0.16, 0.15, 0.16), cloth, sides=10))
    parts.append(ellipsoid(head, (0.12, 0.09, 0.12), SKIN))
    turn = rng.uniform(0, 2 * np.pi)
    for side in (-1, 1):
        phase = turn + (side > 0) * np.pi
        pedal = crank + (0.17 * np.cos(phase), side * 0.12, 0.17 * np.sin(phase))
        joint = hip + (0, side * 0.09, -0.04)
        knee = _middle_joint(joint, pedal + (0, 0, 0.08), 0.25 * tall, (1, 0, 0.3))
        parts.append(tube([joint, knee, pedal + (0, 0, 0.08)], (0.085, 0.06, 0.045), trousers))
        parts.append(tube([pedal + (-0.08, 0, 0.05), pedal + (0.14, 0, 0.03)], 0.04, trousers))
        joint, hand = shoulder + (0, side * 0.19, -0.03), bar + (0, side * 0.25, 0.03)
        elbow = _middle_joint(joint, hand, 0.175 * tall, (0, side, -1))
        parts.append(tube([joint, elbow, hand], (0.055, 0.045, 0.035), cloth))
    if rng.random() < 0.3:  # panniers or a child's seat over the rear wheel
        wide = rng.uniform(0.12, 0.28)
        parts.append(boxes([rear + (-0.2, -wide, 0.1)], [rear + (0.15, wide, 0.48)], cloth))
    return combine(parts)


def _middle_joint(start, end, segment, towards):
    """Return the knee or elbow between two points, bent towards a direction.

    Both segments are `segment` long; a limb that does not reach is stretched straight.
    """
    start, end = np.asarray(start), np.asarray(end)
    along = end - start
    out = np.asarray(towards) - along * (np.dot(towards, along) / np.dot(along, along))
    rise = np.sqrt(max(segment**2 - np.dot(along, along) / 4, 0.0))
    return (start + end) / 2 + rise * out / np.linalg.norm(out)
