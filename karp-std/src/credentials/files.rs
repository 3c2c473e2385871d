//! Key files: read with their mode checked on the open file, and written with mode 0600.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::libc::O_NONBLOCK;
use zeroize::Zeroizing;

use super::CredentialError;

/// The most octets that a key file can have.
pub const MAX_FILE: usize = 64 * 1024;

/// Permission bits that a secret file must not have: any for group or others.
const OPEN_TO_OTHERS: u32 = 0o077;

/// Reads a file that holds a secret.
///
/// # Errors
/// If group or others have any permission on it, if it is no regular file, has more than [`MAX_FILE`] octets or cannot
/// be read. The mode is that of the file that was opened, so it cannot be exchanged in between.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let (octets, mode) = read_file(path, MAX_FILE)?;
    check_secret_mode(path, mode)?;
    Ok(octets)
}

/// Reads a file that holds nothing secret, such as a public key.
///
/// # Errors
/// If it is no regular file, has more than [`MAX_FILE`] octets or cannot be read.
pub fn read_public_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read_file(path, MAX_FILE).map(|(octets, _)| octets)
}

/// Writes a new file with mode 0600. An existing one is not touched.
///
/// # Errors
/// If there is such a file, or it cannot be written.
pub fn write_secret_file(path: &Path, octets: &[u8]) -> Result<(), CredentialError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(octets).and_then(|()| file.sync_all()))
        .map_err(|source| io_error(path, source))
}

/// Refuses a file that group or others can get at.
pub(crate) fn check_secret_mode(path: &Path, mode: u32) -> Result<(), CredentialError> {
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(CredentialError::Mode {
            file: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Reads a regular file of at most `max` octets and gives its permission bits, those of the file that was opened.
pub(crate) fn read_file(path: &Path, max: usize) -> Result<(Zeroizing<Vec<u8>>, u32), CredentialError> {
    // Without blocking: a FIFO with nobody at its other end would hold up the start for ever.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .map_err(|source| io_error(path, source))?;
    let metadata = file.metadata().map_err(|source| io_error(path, source))?;
    if !metadata.is_file() {
        return Err(CredentialError::NotAFile {
            file: path.to_owned(),
        });
    }
    // All the room at once: a vector that grows would leave copies of a secret behind.
    let mut octets = Zeroizing::new(vec![0; max + 1]);
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_some(&mut file, rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(source) => return Err(io_error(path, source)),
        }
    }
    if filled > max {
        return Err(CredentialError::TooLarge {
            file: path.to_owned(),
            limit: max,
        });
    }
    octets.truncate(filled);
    Ok((octets, metadata.mode() & 0o7777))
}

fn read_some(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> CredentialError {
    CredentialError::Io {
        file: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn file_with_mode(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r2.psk");
        fs::write(&path, b"sixteen octets!!\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn only_the_owner_may_have_access() {
        for mode in [0o600, 0o400, 0o700] {
            let (_dir, path) = file_with_mode(mode);
            assert_eq!(read_secret_file(&path).unwrap().as_slice(), b"sixteen octets!!\n");
        }
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o660, 0o777] {
            let (_dir, path) = file_with_mode(mode);
            let message = read_secret_file(&path).unwrap_err().to_string();
            assert!(message.contains(&path.display().to_string()), "{message}");
            assert!(message.contains(&format!("mode 0{mode:o}")), "{message}");
            assert!(
                message.ends_with(&format!("run: chmod 600 {}", path.display())),
                "{message}"
            );
            assert!(!message.contains("sixteen"), "{message}");
            assert!(read_public_file(&path).is_ok());
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_secret_file(dir.path()),
            Err(CredentialError::NotAFile { .. })
        ));
        let message = read_secret_file(&dir.path().join("none"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("none") && message.contains("create the file or correct its path"),
            "{message}"
        );
    }

    #[test]
    fn a_fifo_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if made.is_ok_and(|status| status.success()) {
            assert!(matches!(
                read_secret_file(&path),
                Err(CredentialError::NotAFile { .. })
            ));
        }
    }

    #[test]
    fn a_large_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        write_secret_file(&path, &vec![b'x'; MAX_FILE]).unwrap();
        assert_eq!(read_secret_file(&path).unwrap().len(), MAX_FILE);
        let path = dir.path().join("larger");
        write_secret_file(&path, &vec![b'x'; MAX_FILE + 1]).unwrap();
        assert!(matches!(
            read_secret_file(&path),
            Err(CredentialError::TooLarge { .. })
        ));
    }

    #[test]
    fn written_for_the_owner_alone_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_secret_file(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let message = write_secret_file(&path, b"two").unwrap_err().to_string();
        assert!(message.contains("remove the old file first"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }
}
