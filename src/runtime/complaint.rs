//! A failure that lasts is said once.

use std::error::Error;

/// What was said of a lasting failure.
#[derive(Debug, Default)]
pub struct Complaint {
    said: Option<String>,
}

impl Complaint {
    /// Whether this is another failure than the last one since things went well, and so is to be said.
    pub fn is_new(&mut self, error: &dyn Error) -> bool {
        let text = with_causes(error);
        self.said.replace(text.clone()).is_none_or(|said| said != text)
    }

    /// Whether this is the first failure since things went well. Of failures that come from many sides, one says enough.
    pub fn is_first(&mut self) -> bool {
        self.said.replace(String::new()).is_none()
    }

    /// Whether there was a failure since things went well.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.said.is_some()
    }

    /// Things go well again.
    pub fn settle(&mut self) {
        self.said = None;
    }
}

/// An error with all its causes, on one line. What an error repeats of its cause is said once.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it can't be done")]
    struct Failure(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the server says: {0}")]
    struct Repeating(#[source] Failure);

    #[test]
    fn causes_are_said_in_their_order_and_once() {
        let full = || Failure(io::ErrorKind::StorageFull.into());
        assert_eq!(with_causes(&full()), "it can't be done: no storage space");
        assert_eq!(with_causes(&Repeating(full())), "the server says: it can't be done: no storage space");
    }

    #[test]
    fn a_failure_is_said_once_and_another_one_too() {
        let mut complaint = Complaint::default();
        let (full, gone) = (Failure(io::ErrorKind::StorageFull.into()), Failure(io::ErrorKind::NotFound.into()));
        assert!(complaint.is_new(&full) && !complaint.is_new(&full));
        assert!(complaint.is_new(&gone) && !complaint.is_new(&gone), "its cause is another");
        complaint.settle();
        assert!(complaint.is_new(&gone), "it is back");
        assert!(!complaint.is_first());
        complaint.settle();
        assert!(complaint.is_first() && !complaint.is_first());
    }
}
