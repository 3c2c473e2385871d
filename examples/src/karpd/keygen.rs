//! `karpd keygen`: keys for this router and its peers.

use std::{fs, path::PathBuf, process::ExitCode};

use karp_std::{
    credentials::{generate_pre_shared_key, generate_signing_key, write_secret_file},
    entropy::OsEntropy,
};

use super::cli::Keygen;

/// Makes the key and writes its files.
#[must_use]
pub fn run(keygen: &Keygen) -> ExitCode {
    match write(keygen) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("karpd: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn write(keygen: &Keygen) -> Result<Vec<String>, String> {
    let path = |ending: &str| {
        let mut name = keygen.out.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if keygen.ed25519 {
        let (private_file, public_file) = (path(".key"), path(".pub"));
        make_room(&[&private_file, &public_file], keygen.force)?;
        let (private, public) = generate_signing_key(&mut OsEntropy);
        write_secret_file(&private_file, format_line(&private).as_bytes())
            .map_err(|error| error.to_string())?;
        fs::write(&public_file, format!("{public}\n"))
            .map_err(|error| format!("{}: {error}", public_file.display()))?;
        return Ok(vec![
            public,
            format!(
                "private key in {}: for this router's credential.signing_key, and nobody else",
                private_file.display()
            ),
            format!(
                "public key in {}: for its peers, as public_key of this router",
                public_file.display()
            ),
        ]);
    }
    let file = path(".psk");
    make_room(&[&file], keygen.force)?;
    let key = generate_pre_shared_key(&mut OsEntropy);
    write_secret_file(&file, format_line(&key).as_bytes()).map_err(|error| error.to_string())?;
    Ok(vec![format!(
        "pre-shared key in {0}: name it as {{ hex_file = \"{0}\" }}, and copy it to the routers that share it over a safe way",
        file.display()
    )])
}

fn format_line(text: &str) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!("{text}\n"))
}

/// Sees that no file is in the way; with `force`, takes it away.
fn make_room(files: &[&PathBuf], force: bool) -> Result<(), String> {
    for file in files.iter().filter(|file| fs::symlink_metadata(file).is_ok()) {
        if !force {
            return Err(format!(
                "{} is there already, and routers may use it; give another --out, or --force to replace it",
                file.display()
            ));
        }
        fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn keygen(out: PathBuf, ed25519: bool, force: bool) -> Result<Vec<String>, String> {
        write(&Keygen {
            psk: !ed25519,
            ed25519,
            out,
            force,
        })
    }

    #[test]
    fn keys_are_for_the_owner_and_never_replaced_unasked() {
        let directory = tempfile::tempdir().unwrap();
        for (ed25519, private) in [(false, "r1.psk"), (true, "r1.key")] {
            let out = directory.path().join("r1");
            let said = keygen(out.clone(), ed25519, false).unwrap().join("\n");
            let file = directory.path().join(private);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let before = fs::read_to_string(&file).unwrap();
            assert!(!said.contains(before.trim()), "the private part is not printed");
            let error = keygen(out.clone(), ed25519, false).unwrap_err();
            assert!(error.contains("--force"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), before);
            keygen(out, ed25519, true).unwrap();
            assert_ne!(fs::read_to_string(&file).unwrap(), before);
        }
        let public = fs::read_to_string(directory.path().join("r1.pub")).unwrap();
        assert!(public.starts_with("ed25519-public:"), "{public}");
    }
}
