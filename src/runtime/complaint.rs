//! A failure that lasts is said once.

/// Whether a lasting failure was said already.
#[derive(Debug, Default)]
pub struct Complaint {
    said: bool,
}

impl Complaint {
    /// Whether a failure is the first since things went well, and so is to be said.
    pub fn is_new(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Things go well again.
    pub fn settle(&mut self) {
        self.said = false;
    }
}
