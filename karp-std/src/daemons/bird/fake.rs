//! A BIRD that says what a test tells it to say.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// How every BIRD greets.
pub(crate) const GREETING: &str = "0001 BIRD 2.17.6 ready.\n";

/// What BIRD does with a line that came: what it sends, and whether it hangs up then.
pub(crate) type Answer = Box<dyn FnMut(&str) -> (Vec<u8>, bool) + Send>;

/// A listening socket in a directory of its own. Its threads end with the process of the tests.
pub(crate) struct FakeBird {
    pub(crate) directory: tempfile::TempDir,
    commands: Arc<Mutex<Vec<String>>>,
    /// At `configure` it opens all files in its directory.
    pub(crate) includes: Arc<AtomicBool>,
}

impl FakeBird {
    /// A BIRD that greets and answers each command by `answer`.
    pub(crate) fn new(answer: impl FnMut(&str) -> String + Send + 'static) -> Self {
        let mut answer = answer;
        Self::raw(
            GREETING,
            Box::new(move |command| (answer(command).into_bytes(), false)),
        )
    }

    /// One that sends `greeting` and then whatever octets `answer` gives.
    pub(crate) fn raw(greeting: impl Into<Vec<u8>>, answer: Answer) -> Self {
        let fake = Self {
            directory: tempfile::tempdir().expect("a directory"),
            commands: Arc::default(),
            includes: Arc::new(AtomicBool::new(true)),
        };
        fake.listen(greeting.into(), answer);
        fake
    }

    /// Starts anew: the socket is another one.
    pub(crate) fn restart(&self, answer: impl FnMut(&str) -> String + Send + 'static) {
        if self.socket().exists() {
            self.stop();
        }
        let mut answer = answer;
        self.listen(
            GREETING.into(),
            Box::new(move |command| (answer(command).into_bytes(), false)),
        );
    }

    /// Nobody listens there any more. (The thread still does, on a socket of another name: if its inode were free, the
    /// next socket might get its number.)
    pub(crate) fn stop(&self) {
        let mut names = (0..).map(|at| self.path(&format!("stopped-{at}")));
        let aside = names.find(|path| !path.exists()).expect("a name");
        std::fs::rename(self.socket(), aside).expect("it was there");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("bird.ctl")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }

    /// The commands so far, of all connections.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.lock().expect("no panic").clone()
    }

    fn listen(&self, greeting: Vec<u8>, answer: Answer) {
        let listener = UnixListener::bind(self.socket()).expect("a socket");
        let commands = Arc::clone(&self.commands);
        let answer = Arc::new(Mutex::new(answer));
        let (includes, directory) = (Arc::clone(&self.includes), self.directory.path().to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let (greeting, commands, answer) =
                    (greeting.clone(), Arc::clone(&commands), Arc::clone(&answer));
                let (includes, directory) = (Arc::clone(&includes), directory.clone());
                // One thread for each: observers keep a connection open.
                thread::spawn(move || {
                    if stream.write_all(&greeting).is_err() {
                        return;
                    }
                    let reader = BufReader::new(stream.try_clone().expect("another descriptor"));
                    for line in reader.lines() {
                        let Ok(line) = line else { return };
                        commands.lock().expect("no panic").push(line.clone());
                        if line == "configure" && includes.load(Ordering::Relaxed) {
                            for file in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                                drop(std::fs::File::open(file.path()));
                            }
                        }
                        let (octets, hangs_up) = answer.lock().expect("no panic")(&line);
                        if stream.write_all(&octets).is_err() || hangs_up {
                            return;
                        }
                    }
                });
            }
        });
    }
}
