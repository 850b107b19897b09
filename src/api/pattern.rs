//! Patterns in which `*` stands for any text, as consent is written.

/// Whether one of the patterns matches.
#[must_use]
pub fn any_matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

/// Whether the whole text matches the pattern. Takes at most the product of both lengths, whoever wrote them.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The earliest place for each middle part leaves the most room for those that follow.
    for part in middle.split('*') {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_matches_as_the_regular_expression_does(pattern in "[ab*]{0,8}", text in "[ab]{0,12}") {
            let expression = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(matches(&pattern, &text), expression.is_match(&text));
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in
            [("*", ""), ("*", "a"), ("team-*", "team-a"), ("*-db", "x-db"), ("a*b*c", "abc"), ("a*b*c", "a1b2b3c"), ("a**b", "ab")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("team-*", "team"), ("a", "ab"), ("a*a", "a"), ("a*b*c", "acb"), ("*b*b", "ab"), ("A*", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_long() {
        assert!(!matches(&"a*".repeat(120), &"b".repeat(253)));
        assert!(!matches(&format!("{}c", "*a".repeat(120)), &"a".repeat(253)));
    }
}
