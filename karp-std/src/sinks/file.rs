//! Files of keys: replaced as a whole or not at all, and read by nobody but their owner.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
    unistd::{Gid, Uid, fchown},
};
use zeroize::Zeroizing;

/// What such a file may hold in octets; more is no file of ours.
const MAX_LEN: u64 = 1 << 20;
/// For its owner, which is the daemon if one is set, and nobody else.
const MODE: u32 = 0o600;

/// Puts a file with `content` in the place of `path`: written beside it, on the disk, and then renamed, so that whoever
/// opens `path` finds the one or the other. `owner` is the user and the group that it is to belong to.
pub(crate) fn replace(path: &Path, content: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let beside = beside(path)?;
    let written = write(&beside, content, owner).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Best effort: it may not even have been made.
        let _ = fs::remove_file(&beside);
        return written;
    }
    File::open(directory(path))?.sync_all()
}

/// A file as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// What is in it.
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// Its mode and owner are as [`replace`] makes them.
    pub(crate) fits: bool,
}

/// What is in `path`, if it is there.
pub(crate) fn read(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Option<Found>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let of = file.metadata()?;
    let owned = owner.is_none_or(|owner| owner == (of.uid(), of.gid()));
    if of.len() > MAX_LEN {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too long to be a file of keys",
        ));
    }
    let fits = of.mode() & 0o7777 == MODE && owned;
    // With room for all of it at once, or growing would leave copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(of.len()).unwrap_or(0) + 1));
    file.take(MAX_LEN).read_to_end(&mut content)?;
    Ok(Some(Found { content, fits }))
}

/// Sees whether files are opened. Their directories are watched: the files may be closed to us.
pub(crate) struct Watch<'a> {
    inotify: Inotify,
    files: Vec<(WatchDescriptor, &'a Path)>,
}

impl<'a> Watch<'a> {
    /// Watches `files`, each by its name in its directory.
    pub(crate) fn new(files: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // The same directory gives the same descriptor again.
        let files = files.map(|path| Ok((inotify.add_watch(directory(path), AddWatchFlags::IN_OPEN)?, path)));
        let files = files.collect::<io::Result<_>>()?;
        Ok(Self { inotify, files })
    }

    /// The first file that nobody has opened since.
    pub(crate) fn unopened(mut self) -> io::Result<Option<&'a Path>> {
        loop {
            match self.inotify.read_events() {
                Ok(events) => self.files.retain(|(watched, path)| {
                    let opened = |event: &InotifyEvent| {
                        event.wd == *watched && event.name.as_deref() == path.file_name()
                    };
                    !events.iter().any(opened)
                }),
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.files.first().map(|(_, path)| *path))
    }
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    Ok(path.with_file_name(hidden))
}

fn write(path: &Path, content: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    // What a run before this one left behind. New, so that nobody has it open and no link is followed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    if let Some((user, group)) = owner {
        fchown(
            file.as_fd(),
            Some(Uid::from_raw(user)),
            Some(Gid::from_raw(group)),
        )?;
    }
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        assert!(read(&path, None).expect("no error").is_none());
        replace(&path, b"one", None).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        let found = read(&path, None).expect("read").expect("there");
        assert_eq!((found.content.as_slice(), found.fits), (&b"one"[..], true));
        let opened = File::open(&path).expect("opened");
        replace(&path, b"two", None).expect("written");
        let mut old = String::new();
        (&opened).read_to_string(&mut old).expect("read");
        assert_eq!(old, "one");
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1);
        // Others can read it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(!read(&path, None).expect("read").expect("there").fits);
    }

    #[test]
    fn who_opens_a_file_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        for path in [&one, &two] {
            replace(path, b"", None).expect("written");
        }
        let watch = || Watch::new([one.as_path(), two.as_path()].into_iter()).expect("a watch");
        assert_eq!(watch().unopened().expect("events"), Some(one.as_path()));
        let seeing = watch();
        File::open(&one).expect("opened");
        File::open(&one).expect("opened");
        assert_eq!(seeing.unopened().expect("events"), Some(two.as_path()));
        let seeing = watch();
        File::open(&two).expect("opened");
        File::open(&one).expect("opened");
        assert_eq!(seeing.unopened().expect("events"), None);
        assert!(Watch::new([Path::new("/nonexistent/file")].into_iter()).is_err());
    }

    #[test]
    fn a_link_left_behind_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (directory.path().join("keys"), directory.path().join("other"));
        fs::write(&other, "untouched").expect("written");
        symlink(&other, directory.path().join(".keys.new")).expect("linked");
        replace(&path, b"secret", None).expect("written");
        assert_eq!(fs::read_to_string(&other).expect("read"), "untouched");
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        fs::create_dir(&path).expect("made");
        assert!(replace(&path, b"secret", None).is_err());
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1);
        assert!(replace(Path::new("/"), b"", None).is_err());
    }
}
