//! Who can read a mirrored file. The webhook and the program in the pod judge by the same rule.

/// Mode of a `ConfigMap`'s files where nobody sets another.
pub const CONFIG_MAP_MODE: u32 = 0o644;
/// Mode of a Secret's files where nobody sets another.
pub const SECRET_MODE: u32 = 0o440;

/// Whether a user with these groups may read a file, by its mode, owner and group (inode(7)).
#[must_use]
pub fn can_read(mode: u32, (owner, owners): (u32, u32), user: u32, groups: &[u32]) -> bool {
    let bits = match () {
        () if user == 0 => return true,
        () if user == owner => 0o400,
        () if groups.contains(&owners) => 0o040,
        () => 0o004,
    };
    mode & bits != 0
}

#[cfg(test)]
mod tests {
    use super::can_read;

    #[test]
    fn a_file_is_read_by_its_owner_its_group_or_all_as_its_mode_says() {
        for (mode, user, groups, expected) in [
            (0o440, 1000, &[5][..], true),
            (0o440, 7, &[5, 2000], true),
            (0o440, 7, &[5], false),
            (0o440, 7, &[], false),
            (0o644, 7, &[5], true),
            (0o044, 1000, &[2000], false),
            (0o000, 0, &[0], true),
        ] {
            assert_eq!(can_read(mode, (1000, 2000), user, groups), expected, "{mode:o} {user}:{groups:?}");
        }
    }
}
