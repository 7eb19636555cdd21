//! What a fresh machine lacks: the real systems that demo and tests talk to.

use std::path::Path;

use anyhow::{Result, bail};

use crate::shell::{heading, run};

/// A program we need, the Debian package that has it, and why we need it.
const NEEDED: [(&str, &str, &str); 5] = [
    ("/usr/sbin/dovecot", "dovecot-imapd", "the IMAP server of the mail tests"),
    ("/usr/lib/dovecot/lmtp", "dovecot-lmtpd", "how mail reaches that server's mailboxes"),
    ("/usr/sbin/exim4", "exim4-daemon-light", "the SMTP server of the mail tests"),
    ("/usr/bin/openssl", "openssl", "makes the test servers' certificates"),
    ("/usr/bin/setpriv", "util-linux", "runs the test servers as an unprivileged user"),
];

/// Installs what demo and tests need and this machine lacks, saying what and why.
pub(crate) fn systems() -> Result<()> {
    heading("Real systems: Dovecot, Exim, PocketBase");
    let missing: Vec<_> = NEEDED.iter().filter(|(path, _, _)| !Path::new(path).exists()).collect();
    for (path, package, why) in &missing {
        println!("   {path} is missing: package {package}, {why}");
    }
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
        install(&packages)?;
    }
    python()?;
    let pocketbase = throughline_tests::systems::pocketbase::install()?;
    println!("   Dovecot and Exim are installed; PocketBase is {}", pocketbase.display());
    Ok(())
}

/// Installs what only the tests need.
pub(crate) fn systems_of_tests() -> Result<()> {
    systems()?;
    let (_, database) = throughline_tests::systems::helpdesk::install()?;
    println!("   django-helpdesk is installed; its empty database is {}", database.display());
    Ok(())
}

/// PocketBase and django-helpdesk come as Python packages, into virtual environments below `target/`.
fn python() -> Result<()> {
    let works =
        std::process::Command::new("python3").args(["-c", "import venv, ensurepip"]).output().is_ok_and(|output| output.status.success());
    if works {
        return Ok(());
    }
    println!("   python3 with venv is missing: packages python3 and python3-venv, they install PocketBase and django-helpdesk");
    install(&["python3", "python3-venv"])
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = Path::new("/usr/bin/apt-get").exists();
    let list = packages.join(" ");
    if !apt {
        bail!("install these packages (Debian's names) by your system's means: {list}");
    }
    if !is_root() {
        bail!("install the missing packages with: sudo apt-get install -y --no-install-recommends {list}");
    }
    run("apt-get", &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"];
    arguments.extend(packages);
    run("apt-get", &arguments)
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}
