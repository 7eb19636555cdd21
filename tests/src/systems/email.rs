//! A real mail server for tests: Dovecot (IMAP, LMTP) and Exim (SMTP, submission) on loopback, as an unprivileged user.
//!
//! Everything lies below one folder that the caller gives and removes. The servers stop when the value is dropped. Depends on `std`
//! and `anyhow` only, so that a plugin's own tests can include this file.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// What to install when a server is missing.
const INSTALL: &str =
    "install the mail servers with: apt-get install -y --no-install-recommends dovecot-imapd dovecot-lmtpd exim4-daemon-light openssl";
/// Everybody's password.
pub const PASSWORD: &str = "secret";
/// Who has a mailbox; `user+suffix@` is delivered to `user@`.
pub const USERS: [&str; 3] = ["agent@mail.test", "customer@mail.test", "many@mail.test"];
/// How long a server may take to answer; a busy machine takes its time.
const READY: Duration = Duration::from_secs(60);

/// Where the servers listen on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// IMAP, plain, with STARTTLS on offer.
    pub imap: u16,
    /// IMAP with TLS from the start.
    pub imaps: u16,
    /// SMTP as other servers use it: takes mail for our users without a login.
    pub smtp: u16,
    /// Submission, plain, with STARTTLS and AUTH on offer.
    pub submission: u16,
    /// Submission with TLS from the start.
    pub smtps: u16,
    /// How Exim hands mail to Dovecot.
    lmtp: u16,
}

impl Ports {
    /// Ports that are free now.
    pub fn free() -> Result<Self> {
        let listeners: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let ports: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?;
        Ok(Self { imap: ports[0], imaps: ports[1], smtp: ports[2], submission: ports[3], smtps: ports[4], lmtp: ports[5] })
    }
}

/// A running mail server.
#[derive(Debug)]
pub struct MailServer {
    dir: PathBuf,
    /// Where it listens.
    pub ports: Ports,
    user: String,
    is_root: bool,
    dovecot: Option<Child>,
    exim: Option<Child>,
}

impl MailServer {
    /// Writes the config below `dir`, starts both servers on free ports and waits until they answer.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_on(dir, Ports::free()?)
    }

    /// The same on given ports.
    pub fn start_on(dir: &Path, ports: Ports) -> Result<Self> {
        for program in ["/usr/sbin/dovecot", "/usr/sbin/exim4"] {
            ensure!(Path::new(program).exists(), "{program} is missing; {INSTALL}");
        }
        let is_root = output("id", &["-u"])? == "0";
        let user = if is_root { "nobody".to_owned() } else { output("id", &["-un"])? };
        let mut server = Self { dir: dir.to_owned(), ports, user, is_root, dovecot: None, exim: None };
        server.write_files()?;
        server.hand_over()?;
        server.start_imap()?;
        server.start_smtp()?;
        Ok(server)
    }

    /// The authority that signed the servers' certificate (localhost, mail.test, 127.0.0.1), as PEM.
    pub fn ca_pem(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.join("tls/ca.pem"))?)
    }

    /// Starts Dovecot and waits for its banners.
    pub fn start_imap(&mut self) -> Result<()> {
        let config = self.dir.join("dovecot.conf");
        self.dovecot = Some(self.spawn("/usr/sbin/dovecot", &["-F", "-c", &config.to_string_lossy()], "dovecot.out")?);
        self.await_banner(self.ports.imap, "* OK")?;
        self.await_banner(self.ports.lmtp, "220")
    }

    /// Starts Exim and waits for its banner.
    pub fn start_smtp(&mut self) -> Result<()> {
        let config = self.dir.join("exim.conf");
        self.exim = Some(self.spawn("/usr/sbin/exim4", &["-C", &config.to_string_lossy(), "-bdf", "-q5s"], "exim.out")?);
        self.await_banner(self.ports.smtp, "220")
    }

    /// Stops Dovecot: connections break, Exim queues.
    pub fn stop_imap(&mut self) {
        stop(self.dovecot.take());
    }

    /// Stops Exim.
    pub fn stop_smtp(&mut self) {
        stop(self.exim.take());
    }

    /// Puts mails into a mailbox's files directly, as a migration would: thousands in a second.
    pub fn put(&self, user: &str, mails: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
        let maildir = self.maildir(user);
        for folder in ["new", "cur", "tmp"] {
            std::fs::create_dir_all(maildir.join(folder))?;
        }
        let before = std::fs::read_dir(maildir.join("new"))?.count();
        for (number, mail) in mails.into_iter().enumerate() {
            // A fixed width keeps the order of names the order of mails, by which Dovecot numbers them.
            let name = format!("1795251600.M{:09}.put", before + number);
            std::fs::write(maildir.join("new").join(name), mail)?;
        }
        self.hand_over()
    }

    /// The mails in a mailbox's files (INBOX, or a folder such as `Sent`).
    pub fn mails(&self, user: &str, folder: Option<&str>) -> Result<Vec<Vec<u8>>> {
        let mut maildir = self.maildir(user);
        maildir.extend(folder.map(|folder| format!(".{folder}")));
        let mut mails = Vec::new();
        for part in ["new", "cur"] {
            let Ok(entries) = std::fs::read_dir(maildir.join(part)) else { continue };
            for entry in entries {
                mails.push(std::fs::read(entry?.path())?);
            }
        }
        Ok(mails)
    }

    /// Has Dovecot number a mailbox anew: another UIDVALIDITY, other UIDs, the same mails. Restarts it.
    pub fn renumber(&mut self, user: &str) -> Result<()> {
        self.stop_imap();
        for entry in std::fs::read_dir(self.maildir(user))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "dovecot-uidlist" || name.starts_with("dovecot.index") || name.starts_with("dovecot.list") {
                std::fs::remove_file(entry.path())?;
            }
        }
        self.start_imap()
    }

    /// Hands a mail to Exim as another server would: no login, any sender.
    pub fn inject(&self, from: &str, to: &str, mail: &[u8]) -> Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.ports.smtp))?;
        stream.set_read_timeout(Some(READY))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        expect(&mut reader, "220")?;
        for command in ["EHLO other.test".to_owned(), format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>")] {
            write!(writer, "{command}\r\n")?;
            expect(&mut reader, "250")?;
        }
        write!(writer, "DATA\r\n")?;
        expect(&mut reader, "354")?;
        for line in mail.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                writer.write_all(b".")?;
            }
            writer.write_all(line)?;
        }
        write!(writer, "{}.\r\n", if mail.ends_with(b"\n") { "" } else { "\r\n" })?;
        expect(&mut reader, "250")?;
        write!(writer, "QUIT\r\n")?;
        Ok(())
    }

    /// What the servers logged, for a test that failed.
    pub fn logs(&self) -> String {
        let files = ["dovecot.log", "dovecot.out", "exim.out", "exim/log/mainlog", "exim/log/paniclog"];
        let read = |file: &str| std::fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        files.map(|file| format!("--- {file}\n{}", read(file))).join("\n")
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.dir.join("mail").join(user)
    }

    fn write_files(&self) -> Result<()> {
        for folder in ["tls", "dovecot", "exim/spool", "exim/log", "mail"] {
            std::fs::create_dir_all(self.dir.join(folder))?;
        }
        write_certificates(&self.dir.join("tls"))?;
        let users: String = USERS.iter().map(|user| format!("{user}:{{PLAIN}}{PASSWORD}::::::\n")).collect();
        let passwords: String = USERS.iter().map(|user| format!("{user}: {PASSWORD}\n")).collect();
        std::fs::write(self.dir.join("users"), users)?;
        std::fs::write(self.dir.join("exim/passwd"), passwords)?;
        let group = output("id", &["-gn", &self.user])?;
        std::fs::write(self.dir.join("dovecot.conf"), self.filled(include_str!("email/dovecot.conf"), &group))?;
        std::fs::write(self.dir.join("exim.conf"), self.filled(include_str!("email/exim.conf"), &group))?;
        Ok(())
    }

    fn filled(&self, template: &str, group: &str) -> String {
        let ports = self.ports;
        let values = [
            ("@DIR@", self.dir.to_string_lossy().into_owned()),
            ("@USER@", self.user.clone()),
            ("@GROUP@", group.to_owned()),
            ("@IMAP@", ports.imap.to_string()),
            ("@IMAPS@", ports.imaps.to_string()),
            ("@LMTP@", ports.lmtp.to_string()),
            ("@SMTP@", ports.smtp.to_string()),
            ("@SUBMISSION@", ports.submission.to_string()),
            ("@SMTPS@", ports.smtps.to_string()),
        ];
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Gives the files to the user that the servers run as; as an ordinary user they are that user's already.
    fn hand_over(&self) -> Result<()> {
        if !self.is_root {
            return Ok(());
        }
        let dir = self.dir.to_string_lossy().into_owned();
        output("chown", &["-R", &self.user, &dir])?;
        output("chmod", &["755", &dir])?;
        Ok(())
    }

    fn spawn(&self, program: &str, arguments: &[&str], out: &str) -> Result<Child> {
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            let group = output("id", &["-gn", &self.user])?;
            command.args([format!("--reuid={}", self.user), format!("--regid={group}"), "--clear-groups".to_owned(), program.to_owned()]);
            command
        } else {
            Command::new(program)
        };
        // A server that inherits a pipe would keep whoever reads it waiting.
        let out = std::fs::File::create(self.dir.join(out))?;
        command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        command.spawn().with_context(|| format!("cannot start {program}; {INSTALL}"))
    }

    fn await_banner(&self, port: u16, banner: &str) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let greeted = greeting(port);
            if greeted.as_deref().is_ok_and(|line| line.starts_with(banner)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("port {port} does not greet with {banner:?} ({greeted:?})\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop_smtp();
        self.stop_imap();
    }
}

fn greeting(port: u16) -> Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream.take(512)).read_line(&mut line)?;
    Ok(line)
}

fn expect(reader: &mut impl BufRead, code: &str) -> Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.starts_with(code), "the SMTP server said {line:?} instead of {code}");
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// Ends a server by its own id: asks first, and insists after a while.
fn stop(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}; {INSTALL}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?} failed: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A private authority and a certificate of its for localhost.
fn write_certificates(dir: &Path) -> Result<()> {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (ca, ca_key, request, key, certificate, extensions) =
        (path("ca.pem"), path("ca.key"), path("server.csr"), path("server.key"), path("server.pem"), path("extensions"));
    std::fs::write(
        &extensions,
        "subjectAltName=DNS:localhost,DNS:mail.test,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
    )?;
    let authority = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"];
    let marks =
        ["-subj", "/CN=Test CA", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    output("openssl", &[&authority[..], &marks, &["-keyout", &ca_key, "-out", &ca]].concat())?;
    let asking = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"];
    output("openssl", &[&asking[..], &["-keyout", &key, "-out", &request]].concat())?;
    let signing = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", "3650"];
    output("openssl", &[&signing[..], &["-extfile", &extensions, "-out", &certificate]].concat())?;
    Ok(())
}
