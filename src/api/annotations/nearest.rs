//! The nearest known name to one that is not known.

/// The known name with the fewest edits from `name`, if few enough to be a likely slip.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A stranger's name may be huge; no known one is.
    if name.len() > 256 {
        return None;
    }
    let allowed = (name.chars().count() / 4).clamp(1, 6);
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance between two texts, in characters.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut previous = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let substituted = previous + usize::from(a != *b);
            previous = *cell;
            left = substituted.min(previous + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (from, to, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "", 3),
            ("", "xy", 2),
            ("kitten", "sitting", 3),
            ("größe", "grösse", 2),
        ] {
            assert_eq!(edits(from, to), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn a_far_name_has_no_neighbour() {
        assert_eq!(nearest("geometri", ["geometry", "resize"].into_iter()), Some("geometry"));
        assert_eq!(nearest("completely-different", ["geometry", "resize"].into_iter()), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["geometry"].into_iter()), None);
    }
}
