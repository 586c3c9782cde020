//! The one macro of this crate: it derives an event enum's names, versions and access to the personal part from the
//! list of its variants, so that a variant can't be forgotten in one of them.

macro_rules! domain_event {
    ($enum:ident { $($variant:ident $version:literal),+ $(,)? }) => {
        impl $enum {
            /// The names of all of its events.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($variant)),+];

            /// The event's type name as stored.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant)),+ }
            }

            /// The version of the event's stored format.
            #[must_use]
            pub fn version(&self) -> &'static str {
                match self { $(Self::$variant(_) => $version),+ }
            }
        }

        impl cqrs_es::DomainEvent for $enum {
            fn event_type(&self) -> String {
                self.name().to_owned()
            }

            fn event_version(&self) -> String {
                self.version().to_owned()
            }
        }
    };
    ($enum:ident personal { $($variant:ident $version:literal),+ $(,)? }) => {
        domain_event!($enum { $($variant $version),+ });

        impl $enum {
            #[must_use]
            pub fn personal(&self) -> &crate::Personal {
                match self { $(Self::$variant(event) => &event.personal),+ }
            }

            pub fn personal_mut(&mut self) -> &mut crate::Personal {
                match self { $(Self::$variant(event) => &mut event.personal),+ }
            }
        }
    };
}

pub(crate) use domain_event;
