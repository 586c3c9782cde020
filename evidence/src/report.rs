//! `report.html`: the file for people, to read and to print. One page without scripts or anything from elsewhere, and always the
//! same bytes for the same file: the verifier makes it again and compares.

mod timeline;

use std::{collections::BTreeMap, fmt::Write};

use sha2::{Digest, Sha256};

use crate::{
    archive::Files,
    case::{Case, REPORT},
    event::Event,
    facts::Facts,
    keys::{Key, Period},
    state::{self, Step},
    time,
    words::{at, changes, fields, from_where, is_everyday, is_refusal, reason, sentence, what, who},
};

const STYLE: &str = include_str!("report/style.css");

/// Text as HTML. Characters that can't be seen, or that change the direction of writing, are named instead: a text can't pretend
/// to be another one.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => push_named(&mut out, c),
            c if c.is_control() => push_named(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

fn push_named(out: &mut String, c: char) {
    // Writing to a string can't fail.
    let _ = write!(out, "[U+{:04X}]", u32::from(c));
}

/// A page as it is written.
struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.raw(&format!("<h2>{}</h2>", escape(text)));
    }

    fn paragraph(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>", escape(text)));
    }

    fn list(&mut self, items: impl IntoIterator<Item = String>) {
        self.raw("<ol>");
        for item in items {
            self.raw(&format!("<li>{}</li>", escape(&item)));
        }
        self.raw("</ol>");
    }

    /// A table of two columns, the first of which names the second.
    fn pairs<N: AsRef<str>>(&mut self, rows: impl IntoIterator<Item = (N, String)>) {
        self.raw("<table class=\"pairs\">");
        for (name, value) in rows {
            self.raw(&format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name.as_ref()), escape(&value)));
        }
        self.raw("</table>");
    }

    fn head(&mut self, columns: &[&str]) {
        let cells: String = columns.iter().map(|column| format!("<th scope=\"col\">{}</th>", escape(column))).collect();
        self.raw(&format!("<table><thead><tr>{cells}</tr></thead><tbody>"));
    }

    fn row(&mut self, class: &str, cells: &[String]) {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        self.raw(&format!("<tr class=\"{class}\">{cells}</tr>"));
    }

    fn end(&mut self) {
        self.raw("</tbody></table>");
    }
}

/// Length and SHA-256 of every file but the report, by name.
pub type Digests = BTreeMap<String, (usize, String)>;

/// The digests of files, of which some were just made.
pub fn digests(files: &Files, made: &[(&str, &str)]) -> Digests {
    let digest = |name: &str, bytes: &[u8]| (name.to_owned(), (bytes.len(), hex::encode(Sha256::digest(bytes))));
    let is_made = |name: &str| name == REPORT || made.iter().any(|(made, _)| *made == name);
    let given = files.iter().filter(|(name, _)| !is_made(name)).map(|(name, bytes)| digest(name, bytes));
    given.chain(made.iter().map(|(name, text)| digest(name, text.as_bytes()))).collect()
}

/// Makes the report of a file.
pub fn render(digests: &Digests, case: &Case, facts: &Facts<'_>) -> String {
    let (proof, names) = (&case.proof, &facts.names);
    let mut page = Page(String::new());
    let title = format!("License {} of ledger {}", proof.license, proof.ledger_id);
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    page.raw(&format!("<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>", escape(&title)));
    page.raw(&format!("<h1>What happened to license {}</h1>", proof.license));
    introduction(&mut page, case, facts);

    page.heading("The license");
    page.pairs(license(case, facts));

    page.heading("What happened");
    page.paragraph("Every event that changed the license itself, in order. Times are those of the server's clock when it recorded the event.");
    let told = facts.events.iter().enumerate().filter(|(_, event)| !is_everyday(event) && !is_refusal(event));
    page.list(told.map(|(index, event)| sentence(event, facts.before(index).map(|step| &step.state), &facts.steps[index].state, names)));
    page.paragraph(&format!("Beside these, use of the license left in the log: {}. All of them are in the table below.", counts(facts)));

    page.heading("Time line");
    page.raw(&timeline::svg(facts, proof.period().unwrap_or_default()));

    page.heading("All events");
    all_events(&mut page, case, facts);
    refusals(&mut page, facts);
    states(&mut page, case, facts);
    keys(&mut page, facts);
    proved(&mut page, digests, case, facts);
    page.raw("</body>\n</html>");
    page.0
}

fn introduction(page: &mut Page, case: &Case, facts: &Facts<'_>) {
    let (proof, map) = (&case.proof, &facts.map);
    page.paragraph(
        "This report is part of a dispute file: all that a license server recorded about one license, with the mathematical proof that nothing in it \
         was altered afterwards and that no event of the license is missing. It was written by a program from the events in the file. Anyone can \
         check the file without trusting whoever runs the server; the last section says how. An unchecked report proves nothing.",
    );
    page.paragraph(&format!(
        "It covers the license from its creation to position {} of the log, recorded by {} at the latest. What happened after that is not in it.",
        map.size.saturating_sub(1),
        time::in_words(map.event.recorded_at)
    ));
    let from = proof.from.as_deref().map(at).map(|at| format!(" from {at}")).unwrap_or_default();
    let to = proof.to.as_deref().map(at).map(|at| format!(" until {at}")).unwrap_or_default();
    if proof.from.is_some() || proof.to.is_some() {
        page.paragraph(&format!(
            "The period in dispute is{from}{to}. Events inside it are marked; those outside it are given too, for the file must be complete."
        ));
    }
    page.paragraph(if case.secrets.is_some() {
        "Personal data (names, addresses, what the license was used for) was opened for this file, where it still can be opened."
    } else {
        "Personal data (names, addresses, what the license was used for) is sealed in this file. That it is there can be seen, not what it says."
    });
}

fn license(case: &Case, facts: &Facts<'_>) -> Vec<(String, String)> {
    let proof = &case.proof;
    let mut rows = vec![
        ("number".to_owned(), proof.license.to_string()),
        ("key".to_owned(), proof.license_key.clone()),
        ("ledger".to_owned(), proof.ledger_id.clone()),
    ];
    if let Some(step) = facts.steps.last() {
        rows.push(("product".to_owned(), facts.names.product(step.state.product)));
        rows.push(("expires".to_owned(), expiry(step, facts)));
        rows.push(("owner's number".to_owned(), step.state.owner.map_or_else(|| "none".to_owned(), |number| number.to_string())));
    }
    // The last event that says it: name and address come together.
    let owner = facts.events.iter().rev().find(|event| {
        matches!(event.event_type.as_str(), "OwnerCleared" | "OwnerChanged" | "LicenseCreated")
            || event.payload.get("with_owner") == Some(&true.into())
    });
    for (member, name) in [("owner_name", "owner's name"), ("owner_email", "owner's e-mail address")] {
        if let Some(value) = owner.and_then(|event| facts.opened.get(&event.position)).and_then(|data| data.get(member)) {
            rows.push((name.to_owned(), value.clone()));
        }
    }
    rows
}

/// Expiry is a fact of the clock: no event says it.
fn expiry(step: &Step, facts: &Facts<'_>) -> String {
    let Some(expires) = step.state.expires_at.as_deref() else { return "never".to_owned() };
    let has = time::parse(expires).is_some_and(|expires| expires <= facts.map.event.recorded_at);
    format!("{}{}", at(expires), if has { "; it has expired" } else { "" })
}

fn counts(facts: &Facts<'_>) -> String {
    let count = |wanted: fn(&Event) -> bool| facts.events.iter().filter(|event| wanted(event)).count();
    format!(
        "activations {}, deactivations {}, downloads {}, changes of meta entries {}, refusals {}",
        count(|event| event.event_type == "LicenseActivated"),
        count(|event| event.event_type == "LicenseDeactivated"),
        count(|event| event.event_type == "ReleaseDownloaded"),
        count(|event| event.event_type.starts_with("LicenseMeta")),
        count(is_refusal)
    )
}

fn personal(event: &Event, facts: &Facts<'_>) -> String {
    match facts.opened.get(&event.position) {
        Some(data) => {
            let shown = data.iter().filter(|(name, _)| *name != "client_ip").map(|(name, value)| format!("{}: {value}", name.replace('_', " ")));
            shown.collect::<Vec<_>>().join("; ")
        }
        None if event.payload.contains_key("personal") => "sealed".to_owned(),
        None => String::new(),
    }
}

fn all_events(page: &mut Page, case: &Case, facts: &Facts<'_>) {
    let (from, to) = case.proof.period().unwrap_or_default();
    page.head(&["Position", "Time", "What", "By whom", "From where", "Request", "Reason", "Before → after", "Personal data"]);
    for (index, event) in facts.events.iter().enumerate() {
        let inside =
            (from.is_some() || to.is_some()) && from.is_none_or(|from| event.recorded_at >= from) && to.is_none_or(|to| event.recorded_at <= to);
        let class = if inside { "inside" } else { "" };
        let changed = changes(facts.before(index).map(|step| &step.state), &facts.steps[index].state, &facts.names);
        let changed: Vec<String> = changed.into_iter().map(|(name, old, new)| format!("{name}: {old} → {new}")).collect();
        page.row(
            class,
            &[
                event.position.to_string(),
                time::write(event.recorded_at),
                what(event, &facts.names),
                who(event, &facts.names),
                from_where(event, facts.opened.get(&event.position)),
                event.metadata.get("request_id").cloned().unwrap_or_default(),
                reason(event).unwrap_or_default().to_owned(),
                changed.join("; "),
                personal(event, facts),
            ],
        );
    }
    page.end();
}

fn refusals(page: &mut Page, facts: &Facts<'_>) {
    page.heading("Refusals");
    page.paragraph(
        "Where use of the license was refused. The server records at most one refusal a minute for each reason, so there may have been more.",
    );
    let refused: Vec<_> = facts.events.iter().enumerate().filter(|(_, event)| is_refusal(event)).collect();
    if refused.is_empty() {
        page.paragraph("None was recorded.");
    }
    page.list(refused.into_iter().map(|(index, event)| sentence(event, None, &facts.steps[index].state, &facts.names)));
}

fn states(page: &mut Page, case: &Case, facts: &Facts<'_>) {
    let (from, to) = case.proof.period().unwrap_or_default();
    let mut show = |title: &str, step: Option<&Step>| {
        page.heading(title);
        let Some(step) = step else { return page.paragraph("The license did not exist yet.") };
        page.paragraph(&format!("As of position {}, recorded on {}.", step.position, at(&step.recorded_at)));
        page.pairs(fields(&step.state, &facts.names));
    };
    for (bound, name) in [(from, "beginning"), (to, "end")] {
        if let Some(bound) = bound {
            show(&format!("The license at the {name} of the period, {}", time::in_words(bound)), state::at(&facts.steps, bound));
        }
    }
    show("The license after its last event in this file", facts.steps.last());
}

fn signed(key: &Key, facts: &Facts<'_>) -> String {
    let product = |number: Option<i64>| number.map_or_else(|| "all without a key of their own".to_owned(), |number| facts.names.product(number));
    let period = |period: &Period| {
        format!(
            "{} from {} {}",
            product(period.product),
            at(&period.from),
            period.to.as_deref().map_or_else(|| "on".to_owned(), |to| format!("until {}", at(to)))
        )
    };
    key.signs.iter().map(period).collect::<Vec<_>>().join("; ")
}

fn keys(page: &mut Page, facts: &Facts<'_>) {
    page.heading("Public keys");
    page.paragraph(
        "With these the server's signed answers are checked. The keys themselves are in keys.json; the fingerprint is SHA-256 of a key's PEM text.",
    );
    page.head(&["Key pair", "Kind", "In the log since", "Signed for", "Retired", "Fingerprint"]);
    for key in &facts.keys {
        let kind =
            key.product.map_or_else(|| format!("global, {}", key.algorithm), |number| format!("{}, {}", facts.names.product(number), key.algorithm));
        page.row(
            "",
            &[
                key.key_pair.to_string(),
                kind,
                format!("{} (position {})", at(&key.recorded_at), key.position),
                signed(key, facts),
                key.retired_at.as_deref().map(at).unwrap_or_default(),
                hex::encode(Sha256::digest(key.public_key.as_bytes())),
            ],
        );
    }
    page.end();
}

fn proved(page: &mut Page, digests: &Digests, case: &Case, facts: &Facts<'_>) {
    let (checkpoint, map) = (&case.checkpoint, &facts.map);
    page.heading("What is proved, and how to check it");
    page.list([
        format!("The log “{}” had {} events; its root hash was {}. This statement is signed twice: with the key {}, and with the ledger's global key pair, whose public half the vendor's programs hold.", checkpoint.origin, checkpoint.size, hex::encode(checkpoint.root), case.key),
        "Each event in this file is in that log, at its position, byte for byte (a chain of hashes leads from it to the root).".to_owned(),
        format!("No event of the license is missing: they are numbered without a gap, and a map of all {} licenses, whose root hash {} was itself recorded in the log at position {}, names the last one.", map.licenses, map.root, map.event.position),
        "Whoever holds an earlier checkpoint can check that the log since then was only added to; those in this file are in the folder “earlier”.".to_owned(),
        "The states, the list of keys and this report follow from the events: the program makes them again and compares every byte.".to_owned(),
    ]);
    page.paragraph("What is not proved: that the server recorded everything that it was asked, and that its clock was right. It is proved that what it recorded was not altered, left out or added later without breaking a signature or contradicting a checkpoint that somebody else holds.");
    page.raw("<p>To check the file, without a network: <code>keyledger evidence verify case.zip</code>, and if you have them, <code>--checkpoint</code> with a checkpoint that you kept, <code>--public-key</code> with the public key in your program, <code>--answer</code> with an answer of the server that you kept. <code>docs/evidence.md</code> of the program says how to do it by hand.</p>");
    page.paragraph("The files that this report was made with:");
    page.head(&["File", "Bytes", "SHA-256"]);
    for (name, (length, digest)) in digests {
        page.row("", &[name.clone(), length.to_string(), digest.clone()]);
    }
    page.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_be_markup_or_pretend_to_be_another() {
        assert_eq!(escape("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
        assert_eq!(escape("a\u{202e}b\u{0}c\n"), "a[U+202E]b[U+0000]c[U+000A]");
        assert_eq!(escape("Größe 北京 – ok"), "Größe 北京 – ok");
    }
}
