//! The time line: a bar coloured by status, marks for refusals, and what share of the activation limit was in use.

use std::{collections::BTreeSet, fmt::Write};

use super::escape;
use crate::{facts::Facts, time, words::is_refusal};

/// In the drawing's own units.
const WIDTH: i64 = 1000;
const LEFT: i64 = 10;
const BAR_TOP: i64 = 28;
const BAR_HEIGHT: i64 = 26;
const SEATS_TOP: i64 = 70;
const SEATS_HEIGHT: i64 = 60;
const BOTTOM: i64 = 150;
const HEIGHT: i64 = 185;

fn colour(status: &str) -> &'static str {
    match status {
        "available" => "#c9d6df",
        "assigned" => "#5b9a68",
        "reserved" => "#d9b44a",
        "blocked" => "#b03a2e",
        _ => "#555555",
    }
}

/// Where a time is drawn.
struct Scale {
    from: i64,
    to: i64,
}

impl Scale {
    fn x(&self, at: i64) -> i64 {
        let length = i128::from((self.to - self.from).max(1));
        let offset = i128::from(at.clamp(self.from, self.to) - self.from) * i128::from(WIDTH) / length;
        LEFT + i64::try_from(offset).unwrap_or_default()
    }
}

pub fn svg(facts: &Facts<'_>, (from, to): (Option<i64>, Option<i64>)) -> String {
    let first = facts.events.first().map_or(0, |event| event.recorded_at);
    let scale = Scale { from: first, to: facts.map.event.recorded_at.max(first) };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {HEIGHT}\" role=\"img\" aria-label=\"Status, activations and refusals over time; the tables below say the same\">\n",
        WIDTH + 2 * LEFT
    );
    // Writing to a string can't fail.
    let mut put = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(svg, "{line}");
    };
    if from.is_some() || to.is_some() {
        let (x, end) = (scale.x(from.unwrap_or(scale.from)), scale.x(to.unwrap_or(scale.to)));
        put(format_args!("<rect x=\"{x}\" y=\"18\" width=\"{}\" height=\"{}\" fill=\"#fff6d6\" stroke=\"#b8860b\"/>", (end - x).max(1), BOTTOM - 18));
    }
    for (x, y, text) in [(LEFT, 14, "Status"), (LEFT, SEATS_TOP - 4, "Activations in force")] {
        put(format_args!("<text x=\"{x}\" y=\"{y}\">{text}</text>"));
    }
    let most = facts.steps.iter().map(|step| step.state.active).max().unwrap_or_default().max(1);
    let (mut drawn_status, mut drawn_seats) = (String::new(), BTreeSet::new());
    let mut bar = (scale.x(first), "");
    for (index, step) in facts.steps.iter().enumerate() {
        let (x, end) = (scale.x(facts.events[index].recorded_at), scale.x(facts.events.get(index + 1).map_or(scale.to, |next| next.recorded_at)));
        let status = if step.state.deleted { "deleted" } else { step.state.status.as_str() };
        if status != drawn_status {
            if index > 0 {
                put(format_args!(
                    "<rect x=\"{}\" y=\"{BAR_TOP}\" width=\"{}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>",
                    bar.0,
                    (x - bar.0).max(1),
                    bar.1
                ));
            }
            bar = (x, colour(status));
            status.clone_into(&mut drawn_status);
        }
        let height = step.state.active * SEATS_HEIGHT / most;
        // Thousands of events share a place on the line; one look of each is enough.
        if height > 0 && drawn_seats.insert((x, end, height)) {
            put(format_args!(
                "<rect x=\"{x}\" y=\"{}\" width=\"{}\" height=\"{height}\" fill=\"#6c7a89\"/>",
                SEATS_TOP + SEATS_HEIGHT - height,
                (end - x).max(1)
            ));
        }
    }
    put(format_args!(
        "<rect x=\"{}\" y=\"{BAR_TOP}\" width=\"{}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>",
        bar.0,
        (scale.x(scale.to) - bar.0).max(1),
        bar.1
    ));
    let refused: BTreeSet<i64> = facts.events.iter().filter(|event| is_refusal(event)).map(|event| scale.x(event.recorded_at)).collect();
    for x in refused {
        put(format_args!(
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\" stroke=\"#000\" stroke-width=\"2\"/>",
            BAR_TOP - 6,
            BAR_TOP + BAR_HEIGHT + 6
        ));
    }
    put(format_args!(
        "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"#111\"/>",
        LEFT + WIDTH,
        SEATS_TOP + SEATS_HEIGHT,
        SEATS_TOP + SEATS_HEIGHT
    ));
    put(format_args!("<text x=\"{LEFT}\" y=\"{BOTTOM}\">{}</text>", escape(&time::in_words(scale.from))));
    put(format_args!("<text x=\"{}\" y=\"{BOTTOM}\" text-anchor=\"end\">{}</text>", LEFT + WIDTH, escape(&time::in_words(scale.to))));
    for (index, status) in ["available", "assigned", "reserved", "blocked", "deleted"].into_iter().enumerate() {
        let x = LEFT + i64::try_from(index).unwrap_or_default() * 100;
        put(format_args!(
            "<rect x=\"{x}\" y=\"165\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"175\">{status}</text>",
            colour(status),
            x + 17
        ));
    }
    put(format_args!("<text x=\"{}\" y=\"175\">black marks: refusals; most activations at once: {most}</text>", LEFT + 520));
    svg.push_str("</svg>");
    svg
}
