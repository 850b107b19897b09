//! The known word that somebody probably meant.

/// Longer words are nobody's slip of the finger.
const LONGEST: usize = 128;

/// The known word nearest to an unknown one; none if none is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A stranger's word may be huge; no known one is.
    if word.len() > LONGEST {
        return None;
    }
    let slips_allowed = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    distances.min().filter(|(distance, _)| *distance <= slips_allowed).map(|(_, candidate)| candidate)
}

/// How many slips lie between two words, without regard to case: a letter too many, too few, another one, or two swapped (the
/// optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let letters = |word: &str| word.to_lowercase().chars().collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    // A row for each prefix of `a`, a cell for each prefix of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cell = |up: usize, left: usize| rows.get(i.checked_sub(up)?)?.get(j.checked_sub(left)?).copied();
            let is_swapped = i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1);
            let steps = [
                row.last().map(|left| left + 1),
                cell(1, 0).map(|above| above + 1),
                cell(1, 1).map(|diagonal| diagonal + usize::from(a.get(i - 1) != b.get(j - 1))),
                cell(2, 2).filter(|_| is_swapped).map(|swapped| swapped + 1),
            ];
            row.push(steps.into_iter().flatten().min().unwrap_or_default());
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_single_slips() {
        for (a, b, slips) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("Owner", "owner", 0), ("naem", "name", 1), ("ca", "abc", 3)]
        {
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
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }
}
