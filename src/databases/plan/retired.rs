//! The name of a database that is about to be dropped.

use crate::api::postgres_name;

/// The name under which a database waits to be dropped. Its OID makes it the only one.
#[must_use]
pub fn retired_name(name: &str, oid: u32) -> String {
    let suffix = format!("~dropped-{oid}");
    let room = postgres_name::MAX_BYTES.saturating_sub(suffix.len());
    let kept = name.get(..name.floor_char_boundary(room)).unwrap_or_default();
    format!("{kept}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_fits_and_says_what_it_was() {
        assert_eq!(retired_name("shop", 16_400), "shop~dropped-16400");
        let long = retired_name(&"ü".repeat(31), u32::MAX);
        assert!(postgres_name::fits(&long) && long.starts_with('ü') && long.ends_with("~dropped-4294967295"), "{long}");
    }
}
