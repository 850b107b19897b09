//! Finalizers: what keeps an object until somebody has seen to what it stands for.

use kube::core::ObjectMeta;

/// All finalizers of ours begin so.
pub const PREFIX: &str = "outrigger.dev/";

/// What is left of an object's finalizers without ours; `None` where none is ours.
#[must_use]
pub fn without_ours(metadata: &ObjectMeta) -> Option<Vec<&str>> {
    let all = metadata.finalizers.as_deref().unwrap_or_default();
    let others: Vec<&str> = all.iter().map(String::as_str).filter(|finalizer| !finalizer.starts_with(PREFIX)).collect();
    (others.len() < all.len()).then_some(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(finalizers: &[&str]) -> ObjectMeta {
        let finalizers = finalizers.iter().map(|&finalizer| finalizer.to_owned()).collect();
        ObjectMeta { finalizers: Some(finalizers), ..ObjectMeta::default() }
    }

    #[test]
    fn only_ours_are_left_out() {
        let metadata = with(&["foregroundDeletion", "outrigger.dev/database", "example.com/outrigger.dev"]);
        assert_eq!(without_ours(&metadata).unwrap(), ["foregroundDeletion", "example.com/outrigger.dev"]);
        assert_eq!(without_ours(&with(&["outrigger.dev/database"])).unwrap(), [""; 0]);
    }

    #[test]
    fn without_one_of_ours_there_is_nothing_to_do() {
        assert_eq!(without_ours(&ObjectMeta::default()), None);
        assert_eq!(without_ours(&with(&["foregroundDeletion"])), None);
    }
}
