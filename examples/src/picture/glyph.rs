//! The shapes of events.

use svg::node::element::{Circle, Group, Path, Rectangle};

use super::{
    Class,
    palette::{BACKGROUND, Keys, TEXT},
};

/// An event's sign around a point; `size` is half its height.
pub(super) fn sign(class: Class, keys: &Keys, x: f64, y: f64, size: f64) -> Group {
    let at = |dx: f64, dy: f64| format!("{},{}", round(x + dx * size), round(y + dy * size));
    let line = |points: &[(f64, f64)]| {
        let points: Vec<String> = points.iter().map(|(dx, dy)| at(*dx, *dy)).collect();
        format!("M{}", points.join("L"))
    };
    let fill = keys.look(class).fill;
    let shape = |points: &[(f64, f64)], edge: &str| {
        let path = Path::new()
            .set("d", line(points) + "Z")
            .set("fill", fill)
            .set("stroke", edge)
            .set("stroke-width", 1.2)
            .set("paint-order", "stroke");
        Group::new().add(path)
    };
    let cross = |colour: &str, reach: f64, width: f64| {
        let path = [(-reach, -reach), (reach, reach)];
        let other = [(-reach, reach), (reach, -reach)];
        Path::new()
            .set("d", line(&path) + &line(&other))
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", round(width))
            .set("stroke-linecap", "round")
    };
    match class {
        Class::Act => shape(&[(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)], BACKGROUND),
        Class::Rekey => shape(&[(0.0, -1.0), (0.95, 0.8), (-0.95, 0.8)], BACKGROUND),
        Class::Trouble => shape(&[(0.0, 1.0), (0.95, -0.8), (-0.95, -0.8)], BACKGROUND),
        // On the bar of the office, which has its colour.
        Class::Office => shape(&star(), TEXT),
        Class::Crash => Group::new()
            .add(cross(BACKGROUND, 0.75, size * 0.42 + 2.0))
            .add(cross(TEXT, 0.75, size * 0.42)),
        Class::Lost => Group::new()
            .add(
                Rectangle::new()
                    .set("x", round(x - size))
                    .set("y", round(y - size))
                    .set("width", round(2.0 * size))
                    .set("height", round(2.0 * size))
                    .set("fill", fill)
                    .set("stroke", BACKGROUND)
                    .set("stroke-width", 1),
            )
            .add(cross(BACKGROUND, 0.55, size * 0.35)),
        Class::Return => Group::new()
            .add(circle(
                x,
                y,
                size * 0.75,
                BACKGROUND,
                size * 0.4 + 2.0,
                BACKGROUND,
            ))
            .add(circle(x, y, size * 0.75, BACKGROUND, size * 0.4, TEXT)),
        _ => Group::new().add(circle(x, y, size * 0.7, fill, 1.0, TEXT)),
    }
}

fn star() -> Vec<(f64, f64)> {
    let point = |n: u8| {
        let angle = std::f64::consts::PI * (f64::from(n) / 5.0 - 0.5);
        let reach = if n.is_multiple_of(2) { 1.15 } else { 0.5 };
        (reach * angle.cos(), reach * angle.sin())
    };
    (0..10).map(point).collect()
}

fn circle(x: f64, y: f64, radius: f64, fill: &str, width: f64, stroke: &str) -> Circle {
    Circle::new()
        .set("cx", round(x))
        .set("cy", round(y))
        .set("r", round(radius))
        .set("fill", fill)
        .set("stroke", stroke)
        .set("stroke-width", round(width))
}

/// To a tenth of a unit: what a picture needs, and no digits that differ between machines.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
