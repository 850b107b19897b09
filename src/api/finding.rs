//! What a validator says: findings that name the field, its value and the way out, collected in a verdict.

use std::fmt;

/// One thing that is wrong, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path of the field, as `kubectl` prints it: `spec.owner.name`, `spec.schemas[2].name`.
    pub field: String,
    /// The value found there; none where a value is missing or too large to repeat.
    pub value: Option<String>,
    /// What is allowed, or the way out.
    pub message: String,
}

impl Finding {
    /// A finding about a value.
    pub fn of(field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), value: Some(value.into()), message: message.into() }
    }

    /// A finding about a field whose value doesn't matter.
    pub fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), value: None, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.field.is_empty() { "" } else { ": " };
        match &self.value {
            Some(value) => write!(f, "{}{separator}{value:?}: {}", self.field, self.message),
            None => write!(f, "{}{separator}{}", self.field, self.message),
        }
    }
}

/// All findings about one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the object is refused; empty if it isn't.
    pub denials: Vec<Finding>,
    /// What its author should know although the object is accepted.
    pub warnings: Vec<Finding>,
}

impl Verdict {
    /// Whether nothing speaks against the object.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.denials.is_empty()
    }

    /// Adds a reason to refuse.
    pub fn deny(&mut self, finding: Finding) {
        self.denials.push(finding);
    }

    /// Adds something to know.
    pub fn warn(&mut self, finding: Finding) {
        self.warnings.push(finding);
    }

    /// Adds all that another validator found.
    pub fn extend(&mut self, other: Self) {
        self.denials.extend(other.denials);
        self.warnings.extend(other.warnings);
    }

    /// Judges an object as it is written, from its JSON, less what its stored version would be refused for as well.
    ///
    /// One that can't be read passes with a warning: the API server has checked it by its schema, so it is only newer than we are.
    pub(crate) fn of_change<T>(
        object: &[u8],
        stored: Option<&[u8]>,
        read: impl Fn(&[u8]) -> Result<T, Finding>,
        validate: impl Fn(&T) -> Self,
    ) -> Self {
        let verdict = match read(object) {
            Ok(object) => validate(&object),
            Err(finding) => return Self { denials: Vec::new(), warnings: vec![finding] },
        };
        match stored.map(read) {
            Some(Ok(stored)) => verdict.ratchet(&validate(&stored)),
            Some(Err(_)) | None => verdict,
        }
    }

    /// Turns the denials that the object's stored version would meet as well into warnings: whoever edits a label must not
    /// be blocked by what was accepted before. The API server ratchets its schema validation in the same way.
    #[must_use]
    pub fn ratchet(self, stored: &Self) -> Self {
        let (old, denials) = self.denials.into_iter().partition(|finding| stored.denials.contains(finding));
        let mut warnings: Vec<Finding> = old;
        warnings.extend(self.warnings);
        Self { denials, warnings }
    }
}

impl From<Finding> for Verdict {
    /// A refusal for one reason.
    fn from(denial: Finding) -> Self {
        Self { denials: vec![denial], warnings: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_field_value_and_way_out() {
        let finding = Finding::of("spec.name", "postgres", "is reserved; choose another name");
        assert_eq!(finding.to_string(), r#"spec.name: "postgres": is reserved; choose another name"#);
        assert_eq!(Finding::at("spec.server", "is required").to_string(), "spec.server: is required");
    }

    #[test]
    fn what_was_refused_in_the_stored_version_too_is_only_a_warning() {
        let known = Finding::at("spec.a", "old fault");
        let new = Finding::at("spec.b", "new fault");
        let verdict = Verdict { denials: vec![known.clone(), new.clone()], warnings: vec![] };
        let ratcheted = verdict.ratchet(&Verdict::from(known.clone()));
        assert_eq!(ratcheted, Verdict { denials: vec![new], warnings: vec![known] });
    }
}
