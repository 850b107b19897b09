//! Expressions of the Common Expression Language. Text enters one only as a literal that is escaped here.

use std::fmt;

use serde_json::Value;

use super::super::segment;

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cel(String);

impl Cel {
    /// An expression of our own words and of other expressions. What users wrote must be a [`Cel::text`] in it.
    pub(super) fn code(code: impl Into<String>) -> Self {
        Self(code.into())
    }

    /// A text as a literal.
    pub(super) fn text(text: &str) -> Self {
        let escaped = text.chars().map(|character| match character {
            '\'' | '\\' => format!("\\{character}"),
            // Line ends would end the literal; of all control characters, a reader of the policy sees which.
            control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
            other => other.to_string(),
        });
        Self(format!("'{}'", escaped.collect::<String>()))
    }

    /// A list of texts.
    pub(super) fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self::list(texts.into_iter().map(Self::text))
    }

    /// A list of expressions of one type.
    pub(super) fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self(format!("[{}]", joined(items, ", ")))
    }

    /// A list of expressions of one type, each on a line of its own.
    pub(super) fn lines(items: impl IntoIterator<Item = Self>) -> Self {
        Self(format!("[\n{}\n]", joined(items, ",\n")))
    }

    /// A JSON value as a literal.
    pub(super) fn value(value: &Value) -> Self {
        Template { is_first: &Self::code("true"), holes: &[] }.fill(value, value)
    }

    /// Expressions with the same operator between all of them.
    pub(super) fn join(items: impl IntoIterator<Item = Self>, operator: &str) -> Self {
        Self(joined(items, operator))
    }

    /// Whether any of the conditions holds.
    pub(super) fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        let mut different: Vec<String> = Vec::new();
        for Self(condition) in conditions {
            if !different.contains(&condition) {
                different.push(condition);
            }
        }
        let [only] = different.as_slice() else { return Self(format!("(({}))", different.join(") || ("))) };
        Self(only.clone())
    }

    /// How long it is, in characters.
    pub(super) fn length(&self) -> usize {
        self.0.chars().count()
    }
}

impl fmt::Display for Cel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn joined(items: impl IntoIterator<Item = Cel>, separator: &str) -> String {
    items.into_iter().map(|item| item.0).collect::<Vec<_>>().join(separator)
}

/// How two versions of a JSON value become one expression that evaluates to either.
pub(super) struct Template<'a> {
    /// Whether it is the first.
    pub(super) is_first: &'a Cel,
    /// Members that neither version decides.
    pub(super) holes: &'a [Hole],
}

/// A member of a JSON value that an expression fills.
pub(super) struct Hole {
    /// Its path in the value (RFC 6901).
    pub(super) path: &'static str,
    /// What fills it.
    pub(super) filling: Filling,
}

/// What fills a member.
pub(super) enum Filling {
    /// A value.
    Value(Cel),
    /// An optional value of the type `dyn`. The member is left out when there is none.
    Optional(Cel),
}

impl Template<'_> {
    /// The expression for two versions.
    pub(super) fn fill(&self, first: &Value, second: &Value) -> Cel {
        self.fill_at("", first, second).expression
    }

    fn fill_at(&self, path: &str, first: &Value, second: &Value) -> Typed {
        match (first, second) {
            (Value::Object(members), Value::Object(others)) if members.keys().eq(others.keys()) => {
                let members = members.iter().zip(others.values());
                let members = members.map(|((name, value), other)| self.member(path, name, value, other)).collect();
                map(members, path.is_empty())
            }
            (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
                let items = items.iter().zip(others).enumerate();
                list(items.map(|(index, (value, other))| self.fill_at(&format!("{path}/{index}"), value, other)).collect())
            }
            _ if first == second => scalar(first),
            _ => either(self.is_first, self.fill_at(path, first, first), self.fill_at(path, second, second)),
        }
    }

    /// A member's name with all that stands before its value, and the value.
    fn member(&self, path: &str, name: &str, value: &Value, other: &Value) -> (String, Typed) {
        let path = format!("{path}/{}", segment(name));
        let name = Cel::text(name);
        match self.holes.iter().find(|hole| hole.path == path).map(|hole| &hole.filling) {
            None => (format!("{name}: "), self.fill_at(&path, value, other)),
            Some(Filling::Value(filling)) => (format!("{name}: "), Typed { expression: filling.clone(), kind: Kind::Unknown }),
            Some(Filling::Optional(filling)) => (format!("?{name}: "), Typed { expression: filling.clone(), kind: Kind::Dyn }),
        }
    }
}

/// An expression, and what the API server's type checker takes it for.
struct Typed {
    expression: Cel,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Int,
    String,
    List(Box<Self>),
    Map(Box<Self>),
    EmptyMap,
    Dyn,
    /// One of those.
    Unknown,
}

impl Typed {
    fn into_dyn(self) -> Self {
        match self.kind {
            Kind::Dyn => self,
            _ => Self { expression: Cel(format!("dyn({})", self.expression)), kind: Kind::Dyn },
        }
    }
}

/// The values of a literal list or map must be of one type (`ValidateHomogeneousAggregateLiterals`).
fn of_one_kind(items: Vec<Typed>) -> (Vec<Typed>, Kind) {
    let kind = items.first().map_or(Kind::Dyn, |item| item.kind.clone());
    if kind != Kind::Unknown && items.iter().all(|item| item.kind == kind) {
        return (items, kind);
    }
    (items.into_iter().map(Typed::into_dyn).collect(), Kind::Dyn)
}

fn list(items: Vec<Typed>) -> Typed {
    let (items, kind) = of_one_kind(items);
    Typed { expression: Cel::list(items.into_iter().map(|item| item.expression)), kind: Kind::List(Box::new(kind)) }
}

/// A map, each member on a line of its own if it is a `long` one.
fn map(members: Vec<(String, Typed)>, long: bool) -> Typed {
    if members.is_empty() {
        return Typed { expression: Cel::code("{}"), kind: Kind::EmptyMap };
    }
    let (names, values): (Vec<String>, Vec<Typed>) = members.into_iter().unzip();
    let (values, kind) = of_one_kind(values);
    let members = names.into_iter().zip(values).map(|(name, value)| Cel(format!("{name}{}", value.expression)));
    let [open, separator, close] = if long { ["{\n  ", ",\n  ", "\n}"] } else { ["{", ", ", "}"] };
    let expression = Cel(format!("{open}{}{close}", joined(members, separator)));
    Typed { expression, kind: Kind::Map(Box::new(kind)) }
}

fn either(is_first: &Cel, first: Typed, second: Typed) -> Typed {
    let (first, second) = if first.kind == second.kind { (first, second) } else { (first.into_dyn(), second.into_dyn()) };
    Typed { expression: Cel(format!("({is_first} ? {} : {})", first.expression, second.expression)), kind: first.kind }
}

fn scalar(value: &Value) -> Typed {
    // Null, booleans and numbers are written alike in both languages.
    let written = || Cel(value.to_string());
    let (expression, kind) = match value {
        Value::String(text) => (Cel::text(text), Kind::String),
        Value::Null => (written(), Kind::Null),
        Value::Bool(_) => (written(), Kind::Bool),
        Value::Number(number) if number.is_i64() => (written(), Kind::Int),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => (written(), Kind::Unknown),
    };
    Typed { expression, kind }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The text that a literal stands for, by the language's definition ("Values", "string literals").
    fn meant_by(literal: &str) -> Option<String> {
        let mut characters = literal.strip_prefix('\'')?.strip_suffix('\'')?.chars();
        let mut text = String::new();
        while let Some(character) = characters.next() {
            text.push(match character {
                '\'' | '\n' | '\r' => return None,
                '\\' => match characters.next()? {
                    escaped @ ('\'' | '\\') => escaped,
                    'u' => char::from_u32(u32::from_str_radix(&characters.by_ref().take(4).collect::<String>(), 16).ok()?)?,
                    _ => return None,
                },
                other => other,
            });
        }
        Some(text)
    }

    proptest! {
        #[test]
        fn a_literal_means_its_text_and_no_text_ends_it(text in "(\\PC|[\\x00-\\x1f\\x7f-\\u{9f}'\\\\\"$])*") {
            prop_assert_eq!(meant_by(&Cel::text(&text).to_string()), Some(text));
        }
    }

    #[test]
    fn values_of_several_types_are_dyn_and_others_are_not() {
        let value = json!({"a": [1, 2], "b": {"c": "d", "e": "f"}, "g": [{"h": true}, {"h": "i"}], "j": {}});
        assert_eq!(
            Cel::value(&value).to_string(),
            "{\n  'a': dyn([1, 2]),\n  'b': dyn({'c': 'd', 'e': 'f'}),\n  'g': dyn([dyn({'h': true}), dyn({'h': 'i'})]),\n  'j': dyn({})\n}"
        );
        assert_eq!(Cel::value(&json!(["a", "b'"])).to_string(), r"['a', 'b\'']");
    }

    #[test]
    fn two_versions_differ_where_they_differ_alone() {
        let is_first = Cel::code("first");
        let holes = [
            Hole { path: "/x~1y", filling: Filling::Value(Cel::code("1 + 1")) },
            Hole { path: "/z", filling: Filling::Optional(Cel::code("optional.none()")) },
        ];
        let template = Template { is_first: &is_first, holes: &holes };
        let filled = template.fill(&json!({"v": ["a", 1], "x/y": 0, "z": 0}), &json!({"v": ["b", 1], "x/y": 0, "z": 0}));
        let expected = "{\n  'v': dyn([dyn((first ? 'a' : 'b')), dyn(1)]),\n  'x/y': dyn(1 + 1),\n  ?'z': optional.none()\n}";
        assert_eq!(filled.to_string(), expected);
    }
}
