//! The settings of a sidecar as flags.

use std::{collections::BTreeMap, env, marker::PhantomData};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::sidecars::setting::Setting;

/// What flags say, by the rows of the sidecar's table of settings.
#[derive(Debug)]
pub(super) struct Flags<S>(BTreeMap<&'static str, String>, PhantomData<S>);

impl<S: Setting> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        let rows = S::TABLE.iter().filter(|row| !row.is_secret());
        rows.fold(command, |command, row| {
            let help = row.default().map_or_else(|| row.meaning().to_owned(), |default| format!("{} [default: {default}]", row.meaning()));
            command.arg(Arg::new(row.name()).long(row.flag()).value_name("VALUE").help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Setting> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &&S| matches.try_get_one::<String>(row.name()).ok().flatten().cloned();
        Ok(Self(S::TABLE.iter().filter_map(|row| Some((row.name(), given(row)?))).collect(), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S: Setting> Flags<S> {
    /// What a flag says.
    pub(super) fn given(&self, row: &S) -> Option<String> {
        self.0.get(row.name()).cloned()
    }

    /// A flag counts for more than a variable, and a variable for more than its other name.
    pub(super) fn or_environment(&self, row: &S) -> Option<String> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        self.given(row).or_else(|| set(row.name())).or_else(|| set(row.also()?))
    }
}
