//! The known word that somebody probably meant.

/// The known word nearest to an unknown one; none if none is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_allowed = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    distances.min().filter(|(distance, _)| *distance <= slips_allowed).map(|(_, candidate)| candidate)
}

/// The Levenshtein distance without regard to case, one row of the matrix at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, letter) in a.to_lowercase().chars().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, other) in row.windows(2).zip(&b) {
            let [diagonal, above] = above else { continue };
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != *other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_single_slips() {
        for (a, b, slips) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("Owner", "owner", 0), ("naem", "name", 2)] {
            assert_eq!(distance(a, b), slips, "{a} {b}");
            assert_eq!(distance(b, a), slips, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let known = ["server", "name", "owner", "connectionLimit"];
        assert_eq!(nearest("sever", known), Some("server"));
        assert_eq!(nearest("connectionlimits", known), Some("connectionLimit"));
        assert_eq!(nearest("reclaim", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
