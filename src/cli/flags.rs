//! The settings of a sidecar as flags.

use std::{collections::BTreeMap, env, marker::PhantomData};

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::sidecars::setting::{Row, Table};

/// What flags say, by the rows of the sidecar's table of settings.
#[derive(Debug)]
pub(super) struct Flags<T>(BTreeMap<&'static str, String>, PhantomData<T>);

impl<T: Table> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        let rows = T::ROWS.iter().filter(|row| !row.is_secret());
        rows.fold(command, |command, row| {
            let help = row.default.map_or_else(|| row.meaning.to_owned(), |default| format!("{} [default: {default}]", row.meaning));
            command.arg(Arg::new(row.name).long(row.flag()).value_name("VALUE").help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Table> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &&Row| matches.try_get_one::<String>(row.name).ok().flatten().cloned();
        Ok(Self(T::ROWS.iter().filter_map(|row| Some((row.name, given(row)?))).collect(), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: Table> Flags<T> {
    /// What a flag says.
    pub(super) fn given(&self, row: &Row) -> Option<String> {
        self.0.get(row.name).cloned()
    }

    /// What is set. A flag counts for more than a variable, and a variable for more than its other name.
    ///
    /// # Errors
    /// A variable that counts is no text.
    pub(super) fn or_environment(&self) -> Result<Choices> {
        let choices = T::ROWS.iter().map(|row| Ok(self.choice(row)?.map(|choice| (row.name, choice))));
        choices.filter_map(Result::transpose).collect::<Result<_>>().map(Choices)
    }

    fn choice(&self, row: &Row) -> Result<Option<Choice>> {
        if let Some(text) = self.given(row) {
            return Ok(Some(Choice { name: format!("--{}", row.flag()), text }));
        }
        let set = |name: &'static str| env::var_os(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        let Some((name, value)) = set(row.name).or_else(|| set(row.also?)) else { return Ok(None) };
        match value.into_string() {
            Ok(text) => Ok(Some(Choice { name: name.to_owned(), text })),
            Err(_) if row.is_secret() => bail!("{name} is no text in UTF-8: set it to one, or leave it out"),
            Err(value) => {
                let value = value.as_encoded_bytes().escape_ascii();
                bail!("{name} is \"{value}\", which is no text in UTF-8: set it to one, or leave it out")
            }
        }
    }
}

/// What is set for a sidecar, and by what.
pub(super) struct Choices(BTreeMap<&'static str, Choice>);

struct Choice {
    /// The flag, the variable, or the variable's other name.
    name: String,
    text: String,
}

impl Choices {
    /// What a row is set to, if it is.
    pub(super) fn text(&self, row: &Row) -> Option<String> {
        self.0.get(row.name).map(|choice| choice.text.clone())
    }

    /// By what it is set, or can be.
    pub(super) fn name(&self, row: &Row) -> String {
        self.0.get(row.name).map_or_else(|| row.name.to_owned(), |choice| choice.name.clone())
    }
}
