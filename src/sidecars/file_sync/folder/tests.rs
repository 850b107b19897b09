//! Crashes at any point, and others who write to the same folder.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use tempfile::TempDir;

use super::*;
use crate::sidecars::file_sync::plan::{Source, Step, Wanted, step};

fn rules(folder: &TempDir) -> Rules {
    Rules {
        roots: vec![folder.path().display().to_string()],
        absolute_folders: false,
        unique_names: false,
        suffixes: Vec::new(),
        fetch_links: false,
        mode: None,
        folder_annotation: String::new(),
    }
}

fn options() -> Files {
    Files { adopt: false, fsync: false, publish: Publish::Each, repair: true, readers: Vec::new(), auth_file: None }
}

fn open(folder: &TempDir) -> Folder {
    Folder::open(rules(folder), options()).unwrap()
}

fn target(path: &str) -> Target {
    Target { root: 0, path: path.to_owned() }
}

fn ours(folder: &Folder) -> Vec<String> {
    folder.targets().into_iter().map(|target| target.path).collect()
}

fn record_of(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join(record::NAME)).unwrap()
}

#[test]
fn kiwigrid_k2_what_is_ours_is_known_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    folder.write(&target("sub/b"), b"2", 0o400, None).unwrap();
    folder.write(&target("c"), b"3", 0o644, None).unwrap();
    folder.remove(&target("c")).unwrap();
    fs::write(place.path().join("foreign"), "theirs").unwrap();
    drop(folder);
    let folder = open(&place);
    assert_eq!(ours(&folder), ["a", "sub/b"]);
    let wanted = Wanted { source: Source::Value(digest(b"2")), mode: 0o400 };
    let next = step(Some(wanted), folder.present(&target("sub/b")));
    assert_eq!(next, Step::Keep, "nothing is to be done again");
}

#[test]
fn a_folder_that_another_sidecar_keeps_is_refused_by_name_until_that_one_ends() {
    let place = tempfile::tempdir().unwrap();
    let mut first = open(&place);
    first.write(&target("a"), b"1", 0o644, None).unwrap();
    let refused = Folder::open(rules(&place), options()).unwrap_err().to_string();
    let holder = format!("process {} at ", std::process::id());
    assert!(refused.contains(&holder) && refused.contains("FOLDER of its own"), "{refused}");
    first.write(&target("b"), b"2", 0o644, None).unwrap();
    drop(first);
    assert_eq!(ours(&open(&place)), ["a", "b"]);
}

#[test]
fn wherever_the_record_was_cut_off_nothing_foreign_becomes_ours() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    for (path, text) in [("a", "1"), ("sub/b", "2"), ("c", "3")] {
        folder.write(&target(path), text.as_bytes(), 0o644, None).unwrap();
    }
    folder.remove(&target("c")).unwrap();
    let whole = record_of(&place);
    assert!(whole.lines().count() >= 8, "{whole}");
    for length in 0..=whole.len() {
        let crashed = tempfile::tempdir().unwrap();
        // What the record does not name yet was not made yet, so whatever is there is somebody else's.
        for name in ["a", "c"] {
            fs::write(crashed.path().join(name), "theirs").unwrap();
        }
        fs::write(crashed.path().join(record::NAME), whole.get(..length).unwrap()).unwrap();
        let mut folder = open(&crashed);
        for name in ["a", "c"] {
            let was_made = Record::parse(whole.get(..length).unwrap()).files.get(name).is_some_and(Option::is_none);
            assert_eq!(folder.present(&target(name)).is_some(), was_made, "{name} at {length}");
            if !was_made {
                assert!(matches!(folder.write(&target(name), b"ours", 0o644, None), Err(FolderError::Foreign(_))), "{name} at {length}");
                assert_eq!(fs::read_to_string(crashed.path().join(name)).unwrap(), "theirs");
            }
        }
    }
}

#[test]
fn a_file_that_was_being_written_in_a_crash_is_removed_and_written_anew() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    folder.write(&target("a"), b"old", 0o644, None).unwrap();
    fs::write(place.path().join(unfinished("a")), "ha").unwrap();
    drop(folder);
    let mut folder = open(&place);
    assert!(!place.path().join(unfinished("a")).exists());
    fs::write(place.path().join(unfinished("a")), "ha").unwrap();
    folder.write(&target("a"), b"new", 0o644, None).unwrap();
    assert_eq!(fs::read_to_string(place.path().join("a")).unwrap(), "new");
    assert!(!place.path().join(unfinished("a")).exists());
}

#[test]
fn one_that_was_about_to_be_made_is_ours_if_it_holds_what_it_was_to_hold() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a"), "ours").unwrap();
    fs::write(place.path().join("b"), "theirs").unwrap();
    let making = |path: &str| record::line(&Entry::Making { path: path.to_owned(), sha256: digest(b"ours") });
    fs::write(place.path().join(record::NAME), making("a") + &making("b") + &making("c")).unwrap();
    assert_eq!(ours(&open(&place)), ["a"]);
    assert_eq!(Record::parse(&record_of(&place)).files.len(), 1, "the others are forgotten, so that they never become ours");
}

#[test]
fn kiwigrid_k8_no_link_leads_out_whoever_put_it_there() {
    let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut folder = open(&place);
    folder.write(&target("sub/a"), b"1", 0o644, None).unwrap();
    fs::rename(place.path().join("sub"), place.path().join("moved")).unwrap();
    symlink(outside.path(), place.path().join("sub")).unwrap();
    fs::write(outside.path().join("a"), "theirs").unwrap();
    assert!(folder.write(&target("sub/a"), b"2", 0o644, None).is_err());
    assert!(folder.write(&target("sub/b"), b"2", 0o644, None).is_err());
    assert!(folder.set_mode(&target("sub/a"), 0o600).is_err());
    folder.remove(&target("sub/a")).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("a")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(outside.path().join("a")).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn what_others_did_to_our_files_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    for name in ["changed", "removed", "touched", "closed"] {
        folder.write(&target(name), b"1", 0o644, None).unwrap();
    }
    assert!(folder.changed_by_others().is_empty());
    fs::write(place.path().join("changed"), "2").unwrap();
    fs::remove_file(place.path().join("removed")).unwrap();
    fs::write(place.path().join("touched"), "1").unwrap();
    fs::set_permissions(place.path().join("closed"), fs::Permissions::from_mode(0o600)).unwrap();
    let names: Vec<String> = folder.changed_by_others().into_iter().map(|target| target.path).collect();
    assert_eq!(names, ["changed", "closed", "removed"]);
    folder.write(&target("removed"), b"1", 0o644, None).unwrap();
    assert_eq!(fs::read_to_string(place.path().join("removed")).unwrap(), "1");
    assert!(folder.changed_by_others().is_empty());
}

#[test]
fn the_record_stays_short_however_often_files_come_and_go() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    for _ in 0..200 {
        folder.write(&target("a"), b"1", 0o644, None).unwrap();
        folder.remove(&target("a")).unwrap();
    }
    assert!(record_of(&place).lines().count() <= 110);
    folder.write(&target("b"), b"1", 0o644, None).unwrap();
    drop(folder);
    assert_eq!(ours(&open(&place)), ["b"]);
}

#[test]
fn a_folder_that_we_did_not_make_stays_when_its_last_file_of_ours_goes() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("theirs")).unwrap();
    let mut folder = open(&place);
    folder.write(&target("theirs/ours/a"), b"1", 0o644, None).unwrap();
    drop(folder);
    let mut folder = open(&place);
    folder.remove(&target("theirs/ours/a")).unwrap();
    assert!(place.path().join("theirs").exists() && !place.path().join("theirs/ours").exists());
}

/// The folders that bear the time.
fn sets(place: &TempDir) -> usize {
    let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("..outrigger-")).count()
}

#[test]
fn together_nothing_is_seen_before_all_is_published_and_a_crash_leaves_what_was() {
    let place = tempfile::tempdir().unwrap();
    let open = || Folder::open(rules(&place), Files { publish: Publish::Together, ..options() }).unwrap();
    let read = |path: &str| fs::read_to_string(place.path().join(path)).unwrap_or_default();
    let mut folder = open();
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    folder.write(&target("sub/b"), b"1", 0o400, None).unwrap();
    assert!(folder.has_unpublished() && read("a").is_empty() && read("..data/a").is_empty());
    folder.publish().unwrap();
    assert_eq!((read("a"), read("sub/b"), sets(&place)), ("1".to_owned(), "1".to_owned(), 1));

    folder.write(&target("a"), b"2", 0o644, None).unwrap();
    folder.set_mode(&target("sub/b"), 0o440).unwrap();
    folder.write(&target("c"), b"2", 0o644, None).unwrap();
    assert_eq!((read("a"), read("c"), sets(&place)), ("1".to_owned(), String::new(), 2));
    assert_eq!(fs::metadata(place.path().join("sub/b")).unwrap().permissions().mode() & 0o777, 0o400, "not even its mode has changed");
    drop(folder);
    let mut folder = open();
    assert!(!folder.has_unpublished() && folder.changed_by_others().is_empty());
    assert_eq!((ours(&folder), sets(&place)), (vec!["a".to_owned(), "sub/b".to_owned()], 1));
    assert_eq!(folder.present(&target("a")).unwrap().digest, digest(b"1"));

    folder.remove(&target("sub/b")).unwrap();
    assert_eq!(read("sub/b"), "1");
    folder.publish().unwrap();
    assert!(!place.path().join("sub").exists() && read("a") == "1" && sets(&place) == 1);
}

#[test]
fn together_what_somebody_took_out_of_the_published_folder_is_missing_and_keeps_back_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(rules(&place), Files { publish: Publish::Together, ..options() }).unwrap();
    for name in ["a", "b"] {
        folder.write(&target(name), b"1", 0o644, None).unwrap();
    }
    folder.publish().unwrap();
    fs::remove_file(place.path().join("..data/a")).unwrap();
    folder.write(&target("b"), b"2", 0o644, None).unwrap();
    folder.publish().unwrap();
    assert_eq!(fs::read_to_string(place.path().join("b")).unwrap(), "2");
    let missing: Vec<String> = folder.changed_by_others().into_iter().map(|target| target.path).collect();
    assert_eq!(missing, ["a"]);
}

/// A folder as the kubelet leaves a volume, or a copy of one.
fn lay_out_as_the_kubelet(place: &TempDir) {
    fs::create_dir(place.path().join("..2026_01_01_00_00_00.1")).unwrap();
    fs::write(place.path().join("..2026_01_01_00_00_00.1/a"), "theirs").unwrap();
    symlink("..2026_01_01_00_00_00.1", place.path().join("..data")).unwrap();
    symlink("..data/a", place.path().join("a")).unwrap();
}

#[test]
fn a_foreign_folder_laid_out_as_the_kubelet_does_it_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    lay_out_as_the_kubelet(&place);
    for adopt in [false, true] {
        let mut folder = Folder::open(rules(&place), Files { adopt, ..options() }).unwrap();
        assert_eq!(fs::read_link(place.path().join("a")).unwrap().to_str(), Some("..data/a"));
        assert!(folder.is_blocked(&target("a")));
        assert!(matches!(folder.write(&target("a"), b"ours", 0o644, None), Err(FolderError::Foreign(_))));
    }
    let together = Folder::open(rules(&place), Files { publish: Publish::Together, ..options() });
    assert!(matches!(together.unwrap_err(), FolderError::ForeignSet { .. }));
    assert_eq!(fs::read_link(place.path().join("..data")).unwrap().to_str(), Some("..2026_01_01_00_00_00.1"));
    assert_eq!(fs::read_to_string(place.path().join("a")).unwrap(), "theirs");
}

/// A folder with two files that were published together.
fn published_together(place: &TempDir) -> Folder {
    let mut folder = Folder::open(rules(place), Files { publish: Publish::Together, ..options() }).unwrap();
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    folder.write(&target("sub/b"), b"1", 0o644, None).unwrap();
    folder.publish().unwrap();
    folder
}

#[test]
fn together_the_way_to_what_is_published_is_repaired_while_we_run() {
    let place = tempfile::tempdir().unwrap();
    let (mut folder, data) = (published_together(&place), place.path().join("..data"));
    let way = fs::read_link(&data).unwrap();
    fs::remove_file(&data).unwrap();
    assert!(folder.changed_by_others().is_empty());
    assert_eq!(fs::read_link(&data).unwrap(), way);
    fs::remove_file(&data).unwrap();
    symlink("elsewhere", &data).unwrap();
    assert!(folder.changed_by_others().is_empty());
    assert_eq!(fs::read_link(&data).unwrap(), way);
    // No link takes the place of a folder: until that is gone, readers have no files.
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    assert_eq!(folder.changed_by_others(), [target("a"), target("sub/b")]);
}

#[test]
fn together_what_was_published_is_found_without_the_way_to_it() {
    let place = tempfile::tempdir().unwrap();
    drop(published_together(&place));
    let read = |path: &str| fs::read_to_string(place.path().join(path)).unwrap_or_default();
    for publish in [Publish::Together, Publish::Each] {
        fs::remove_file(place.path().join("..data")).unwrap();
        let folder = Folder::open(rules(&place), Files { publish, ..options() }).unwrap();
        assert_eq!((ours(&folder), read("a"), read("sub/b")), (vec!["a".to_owned(), "sub/b".to_owned()], "1".to_owned(), "1".to_owned()));
    }
    assert_eq!(sets(&place), 0);
}

#[test]
fn together_what_was_never_published_is_not_found_and_what_is_elsewhere_is_not_removed() {
    let place = tempfile::tempdir().unwrap();
    let open = || Folder::open(rules(&place), Files { publish: Publish::Together, ..options() });
    let mut folder = open().unwrap();
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    drop(folder);
    assert!(ours(&open().unwrap()).is_empty(), "half of it may be missing");

    drop(published_together(&place));
    fs::remove_file(place.path().join("..data")).unwrap();
    symlink("elsewhere", place.path().join("..data")).unwrap();
    assert!(matches!(open().unwrap_err(), FolderError::ForeignSet { .. }));
    assert_eq!(sets(&place), 1);
}

#[test]
fn together_with_fsync_nothing_is_seen_that_may_not_be_on_the_disk() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let user = if geteuid().is_root() { 1000 } else { geteuid().as_raw() };
    let published = |fsync: bool| {
        let mut folder = Folder::open(rules(&place), Files { publish: Publish::Together, fsync, ..options() }).unwrap();
        folder.write(&target("sub/a"), b"1", 0o644, None).unwrap();
        // What can't be opened can't be synced.
        let set = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        let staged = set.filter(|path| path.join("sub").is_dir() && !path.ends_with("..data")).max().unwrap();
        fs::set_permissions(staged.join("sub"), fs::Permissions::from_mode(0o300)).unwrap();
        let published = folder.publish();
        fs::set_permissions(staged.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
        published.is_ok() && fs::read_link(place.path().join("..data")).is_ok()
    };
    let published = |fsync| if geteuid().is_root() { as_user(user, user, || published(fsync)) } else { published(fsync) };
    assert!(!published(true) && published(false));
}

#[test]
fn with_fsync_all_is_the_same() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(rules(&place), Files { fsync: true, ..options() }).unwrap();
    folder.write(&target("sub/a"), b"1", 0o440, None).unwrap();
    assert_eq!(fs::metadata(place.path().join("sub/a")).unwrap().permissions().mode() & 0o777, 0o440);
    drop(folder);
    assert_eq!(ours(&open(&place)), ["sub/a"]);
}

/// What is written to it finds no room.
fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_record_that_finds_no_room_is_made_up_for_and_no_file_of_ours_becomes_foreign() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    folder.lines = full_disk();
    folder.remove(&target("a")).unwrap();
    assert!(folder.has_unsynced_record() && ours(&folder).is_empty(), "it is gone, whatever the record says");
    folder.sync_record().unwrap();
    assert_eq!(Record::parse(&record_of(&place)).files.len(), 0);

    folder.lines = full_disk();
    folder.note_what_happened(&Entry::Made("b".to_owned()));
    folder.write(&target("c"), b"3", 0o644, None).unwrap();
    let record = Record::parse(&record_of(&place));
    assert_eq!(record.files, folder.record.files, "no line is glued to half of another");
    assert_eq!(ours(&folder), ["c"]);
}

#[test]
fn a_file_that_can_not_be_announced_is_not_made() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    folder.lines = full_disk();
    assert!(matches!(folder.write(&target("a"), b"1", 0o644, None), Err(FolderError::Record(_))));
    assert!(!place.path().join("a").exists() && folder.record.files.is_empty());
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    drop(folder);
    assert_eq!(ours(&open(&place)), ["a"]);
}

#[test]
fn what_the_record_gained_is_to_reach_the_disk_once() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = open(&place);
    assert!(!folder.has_unsynced_record());
    folder.write(&target("a"), b"1", 0o644, None).unwrap();
    assert!(folder.has_unsynced_record());
    folder.sync_record().unwrap();
    assert!(!folder.has_unsynced_record());
}

/// Does something as another user, in a thread that ends with it. Only root may.
fn as_user<T: Send>(user: u32, group: u32, what: impl FnOnce() -> T + Send) -> T {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            set_thread_groups(&[group]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
            what()
        });
        done.join().unwrap()
    })
}

#[test]
fn another_user_of_the_same_group_goes_on_where_the_first_ended() {
    if !geteuid().is_root() {
        // Nobody else can become another user.
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // As the kubelet leaves a volume that has an fsGroup.
    std::os::unix::fs::chown(place.path(), Some(0), Some(5000)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    as_user(1000, 5000, || {
        let mut folder = open(&place);
        folder.write(&target("sub/a"), b"1", 0o660, None).unwrap();
    });
    as_user(2000, 5000, || {
        let mut folder = open(&place);
        folder.set_mode(&target("sub/a"), 0o440).unwrap();
        folder.write(&target("sub/b"), b"2", 0o644, None).unwrap();
        assert_eq!(ours(&folder), ["sub/a", "sub/b"]);
    });
    let made = fs::metadata(place.path().join("sub/a")).unwrap();
    assert_eq!((made.permissions().mode() & 0o777, fs::read(place.path().join("sub/a")).unwrap()), (0o440, b"1".to_vec()));
}
