//! The tables that a benchmark prints: what, measured, target, and whether it is met.

/// A table under construction. A missed target is a word in it, never a failure of the process.
pub struct Table {
    title: String,
    rows: Vec<[String; 4]>,
}

/// What is asked of a measured value.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Table {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// A figure without a target.
    pub fn figure(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.rows.push([what.into(), measured.into(), String::new(), String::new()]);
    }

    /// A figure with a target, both in the same unit.
    pub fn target(&mut self, what: impl Into<String>, measured: f64, unit: &str, target: Target) {
        let (sign, bound, met) = match target {
            Target::AtLeast(bound) => ("≥", bound, measured >= bound),
            Target::AtMost(bound) => ("≤", bound, measured <= bound),
        };
        let word = if met { "PASS" } else { "MISS" };
        self.rows.push([what.into(), format!("{}{unit}", number(measured)), format!("{sign} {}{unit}", number(bound)), word.to_owned()]);
    }

    pub fn print(&self) {
        const HEADER: [&str; 4] = ["what", "measured", "target", ""];
        let mut widths = HEADER.map(|text| text.chars().count());
        for row in &self.rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        println!("\n{}\n", self.title);
        let line = |cells: [&str; 4]| {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect();
            println!("| {} |", padded.join(" | "));
        };
        line(HEADER);
        println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        for row in &self.rows {
            line(row.each_ref().map(String::as_str));
        }
    }
}

/// Three significant digits, whole numbers with separators.
pub fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let digits = format!("{value:.0}");
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
        format!("{sign}{}", groups.join(","))
    } else if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Median, and the spread around it: the machine is shared.
pub fn spread(values: &[f64], unit: &str) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{}{unit} ({} to {})", number(super::median(values)), number(low), number(high))
}
