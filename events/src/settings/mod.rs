//! What an operator sets for the whole service. There is one stream of it, which begins with the first change.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SettingsEvent {
    SettingsChanged(SettingsChanged),
}

domain_event!(SettingsEvent personal { SettingsChanged "1.0" });

/// All settings as they are after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingsChanged {
    pub changelog: bool,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether changelogs are public; a product can switch its own off.
    pub changelog: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { changelog: true }
    }
}

impl Settings {
    /// Folds one event.
    #[must_use]
    pub fn fold(_: Option<Self>, event: &SettingsEvent) -> Option<Self> {
        match event {
            SettingsEvent::SettingsChanged(event) => Some(Self { changelog: event.changelog }),
        }
    }
}

/// What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeSettings {
    pub changelog: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {}

/// Decides a change: an event where it makes a difference.
#[must_use]
pub fn decide(state: &Settings, change: &ChangeSettings) -> Option<SettingsEvent> {
    let changed = SettingsChanged { changelog: change.changelog.unwrap_or(state.changelog), personal: Personal::None };
    (changed.changelog != state.changelog).then_some(SettingsEvent::SettingsChanged(changed))
}

impl Aggregate for Settings {
    const TYPE: &'static str = "settings";
    type Command = ChangeSettings;
    type Event = SettingsEvent;
    type Error = SettingsError;
    type Services = Context;

    async fn handle(&mut self, command: ChangeSettings, _: &Context, sink: &EventSink<Self>) -> Result<(), SettingsError> {
        if let Some(event) = decide(self, &command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SettingsEvent) {
        *self = Self::fold(None, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    #[test]
    fn a_change_is_an_event_where_it_makes_a_difference() {
        let framework = || TestFramework::<Settings>::with(Context::default());
        let set = |changelog| ChangeSettings { changelog };
        let off = SettingsEvent::SettingsChanged(SettingsChanged { changelog: false, personal: Personal::None });
        let on = SettingsEvent::SettingsChanged(SettingsChanged { changelog: true, personal: Personal::None });
        framework().given_no_previous_events().when(set(Some(true))).then_expect_events(vec![]);
        framework().given_no_previous_events().when(set(Some(false))).then_expect_events(vec![off.clone()]);
        framework().given(vec![off.clone()]).when(set(Some(false))).then_expect_events(vec![]);
        framework().given(vec![off.clone()]).when(set(None)).then_expect_events(vec![]);
        framework().given(vec![off]).when(set(Some(true))).then_expect_events(vec![on]);
    }
}
