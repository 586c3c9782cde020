//! What a shipped program reports of itself. Each record is a stream of its own, which has one event: records are taken in
//! whatever they hold, and never change.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, PersonalData, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TelemetryEvent {
    TelemetryRecorded(TelemetryRecorded),
}

domain_event!(TelemetryEvent personal { TelemetryRecorded "1.0" });

/// What a report may be about a person (who, which license, from where, what) is in `personal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TelemetryRecorded {
    pub data_group: Option<String>,
    /// As it was given, which may be none of [`DataType`].
    pub data_type: Option<String>,
    pub is_correct_format: bool,
    /// The license that had the reported key at that time.
    pub license: Option<i64>,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    /// As it was given: there need not be such a product.
    pub product: Option<i64>,
    pub product_exists: bool,
    pub product_version: Option<String>,
    pub product_version_exists: bool,
    pub telemetry: i64,
}

/// What kind of data a well-formed record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// Two numbers.
    Axes,
    /// One number.
    Single,
    Text,
}

impl DataType {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Axes => "numeric-xy-axis",
            Self::Single => "numeric-single-value",
            Self::Text => "text",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Axes, Self::Single, Self::Text].into_iter().find(|data_type| data_type.as_str() == text)
    }
}

/// A report as it was given. What could not be kept (it was too long) is `None`, and the report not well formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub product: Option<i64>,
    pub user_identifier: Option<String>,
    pub license_key: Option<String>,
    pub activation_identifier: Option<String>,
    pub product_version: Option<String>,
    pub data_type: Option<String>,
    pub data_group: Option<String>,
    pub data: Option<String>,
    /// But for the product, which only the ledger knows.
    pub is_well_formed: bool,
}

/// What the ledger knows of the things that a report names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The license of the reported key.
    pub license: Option<i64>,
    pub product_exists: bool,
    pub product_version_exists: bool,
}

/// A record. Texts that were sealed are `None` once they are forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telemetry {
    pub number: i64,
    pub license: Option<i64>,
    pub user_identifier: Option<String>,
    pub license_key: Option<String>,
    pub activation_identifier: Option<String>,
    pub product: Option<i64>,
    pub product_version: Option<String>,
    pub data_type: Option<String>,
    pub data_group: Option<String>,
    pub data: Option<String>,
    pub is_correct_format: bool,
    pub product_exists: bool,
    pub product_version_exists: bool,
}

impl Telemetry {
    #[must_use]
    pub fn license_key_exists(&self) -> bool {
        self.license.is_some()
    }

    /// Whether anything about it is not as it should be.
    #[must_use]
    pub fn has_red_flags(&self) -> bool {
        !(self.is_correct_format && self.license_key_exists() && self.product_exists && self.product_version_exists)
    }

    /// Folds one event.
    #[must_use]
    pub fn fold(_: Option<Self>, event: &TelemetryEvent) -> Option<Self> {
        let TelemetryEvent::TelemetryRecorded(event) = event;
        let data = event.personal.open().cloned().unwrap_or_default();
        Some(Self {
            number: event.telemetry,
            license: event.license,
            user_identifier: data.user_identifier,
            license_key: data.license_key,
            activation_identifier: data.identifier,
            product: event.product,
            product_version: event.product_version.clone(),
            data_type: event.data_type.clone(),
            data_group: event.data_group.clone(),
            data: data.data,
            is_correct_format: event.is_correct_format,
            product_exists: event.product_exists,
            product_version_exists: event.product_version_exists,
        })
    }
}

/// Decides a report: every one is recorded.
#[must_use]
pub fn decide(report: &Report, known: Known, context: &Context) -> TelemetryEvent {
    TelemetryEvent::TelemetryRecorded(TelemetryRecorded {
        data_group: report.data_group.clone(),
        data_type: report.data_type.clone(),
        is_correct_format: report.is_well_formed && known.product_exists,
        license: known.license,
        personal: Personal::new(PersonalData {
            data: report.data.clone(),
            identifier: report.activation_identifier.clone(),
            license_key: report.license_key.clone(),
            user_identifier: report.user_identifier.clone(),
            ..PersonalData::default()
        }),
        product: report.product,
        product_exists: known.product_exists,
        product_version: report.product_version.clone(),
        product_version_exists: known.product_version_exists,
        telemetry: context.next.telemetry,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    #[error("the record exists already")]
    Exists,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct TelemetryServices {
    pub context: Context,
    pub known: Known,
}

impl Aggregate for Telemetry {
    const TYPE: &'static str = "telemetry";
    type Command = Report;
    type Event = TelemetryEvent;
    type Error = TelemetryError;
    type Services = TelemetryServices;

    async fn handle(&mut self, report: Report, services: &TelemetryServices, sink: &EventSink<Self>) -> Result<(), TelemetryError> {
        if self.number > 0 {
            return Err(TelemetryError::Exists);
        }
        let event = decide(&report, services.known, &services.context);
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: TelemetryEvent) {
        *self = Self::fold(None, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn report() -> Report {
        Report { product: Some(2), data_type: Some("text".into()), data: Some("started".into()), is_well_formed: true, ..Report::default() }
    }

    fn record(report: Report, known: Known) -> Telemetry {
        Telemetry::fold(None, &decide(&report, known, &Context::default())).unwrap()
    }

    #[test]
    fn a_report_is_recorded_once() {
        let known = Known { license: Some(7), product_exists: true, product_version_exists: true };
        let event = decide(&report(), known, &Context::default());
        let framework = || TestFramework::<Telemetry>::with(TelemetryServices { known, ..TelemetryServices::default() });
        framework().given_no_previous_events().when(report()).then_expect_events(vec![event.clone()]);
        framework().given(vec![event]).when(report()).then_expect_error(TelemetryError::Exists);
    }

    #[test]
    fn a_record_without_red_flags_is_right_in_everything() {
        let all = Known { license: Some(7), product_exists: true, product_version_exists: true };
        assert!(!record(report(), all).has_red_flags());
        for known in [Known { license: None, ..all }, Known { product_exists: false, ..all }, Known { product_version_exists: false, ..all }] {
            assert!(record(report(), known).has_red_flags(), "{known:?}");
        }
        assert!(record(Report { is_well_formed: false, ..report() }, all).has_red_flags());
        assert!(!record(report(), Known { product_exists: false, ..all }).is_correct_format, "an unknown product is an error of the data");
    }

    #[test]
    fn what_may_be_personal_is_sealed() {
        let report = Report { user_identifier: Some("jane".into()), license_key: Some("KEY-1".into()), ..report() };
        let TelemetryEvent::TelemetryRecorded(mut event) = decide(&report, Known::default(), &Context::default());
        let data = event.personal.open().unwrap();
        assert_eq!(
            (data.user_identifier.as_deref(), data.license_key.as_deref(), data.data.as_deref()),
            (Some("jane"), Some("KEY-1"), Some("started"))
        );
        event.personal = Personal::None;
        let clear = serde_json::to_string(&event).unwrap();
        assert!(!clear.contains("jane") && !clear.contains("KEY-1") && !clear.contains("started"), "{clear}");
    }
}
