//! Events as JSON, one behind the other.

use std::io::Write as _;

use super::{CloudEvents, Facts, Shown, Sight, Sink, Unreadable, Upcast};

/// What stands around an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing.
    Bare,
    /// A line of its own.
    Line,
    /// A message of a `text/event-stream`.
    Message,
    /// An element of an array, each with a comma behind it.
    Element,
}

/// Writes events in frames.
pub struct Json<'a> {
    format: CloudEvents,
    frame: Frame,
    out: &'a mut Vec<u8>,
}

impl<'a> Json<'a> {
    pub(super) fn new(format: CloudEvents, frame: Frame, out: &'a mut Vec<u8>) -> Self {
        Self { format, frame, out }
    }
}

impl Sink for Json<'_> {
    fn sight(&self) -> Sight {
        self.format.sight()
    }

    fn put(&mut self, facts: &Facts<'_>, upcast: &Upcast, shown: &Shown) -> Result<(), Unreadable> {
        if self.frame == Frame::Message {
            // Writing to memory can't fail.
            let _ = write!(self.out, "id: {}\ndata: ", facts.event().position);
        }
        self.format.write(facts, upcast, shown, self.out)?;
        self.out.extend_from_slice(match self.frame {
            Frame::Bare => b"".as_slice(),
            Frame::Line => b"\n",
            Frame::Message => b"\n\n",
            Frame::Element => b",",
        });
        Ok(())
    }
}
