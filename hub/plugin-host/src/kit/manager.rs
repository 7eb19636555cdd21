//! Stand-ins for a PBX's manager interface: one that says what was recorded, one that knows of no call.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const END_OF_LINE: &[u8] = b"\r\n";
const END_OF_ACTION: &[u8] = b"\r\n\r\n";

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle).map(|at| at + needle.len())
}

/// Takes one connection and says `stream` on it byte for byte: the greeting at once, the rest as soon as the first action has arrived
/// whole. Closes when everything was sent, and returns when the peer has closed too.
pub(crate) async fn play(listener: &TcpListener, stream: &[u8]) -> io::Result<()> {
    let (mut silo, _) = listener.accept().await?;
    silo.set_nodelay(true)?;
    let (greeting, rest) = stream.split_at(find(stream, END_OF_LINE).unwrap_or(stream.len()));
    let played = say_recorded(&mut silo, greeting, rest).await;
    // A peer that hangs up in the middle has heard enough: what it makes of it is its own report.
    drop(played);
    Ok(())
}

async fn say_recorded(silo: &mut TcpStream, greeting: &[u8], rest: &[u8]) -> io::Result<()> {
    silo.write_all(greeting).await?;
    if !rest.is_empty() {
        action(silo).await?;
    }
    let (mut from, mut to) = silo.split();
    let say = async {
        to.write_all(rest).await?;
        to.shutdown().await
    };
    // Reading goes on beside it: a peer whose questions nobody reads would stop reading itself, and a close would cut what it has not read.
    let mut heard = tokio::io::sink();
    let hear = tokio::io::copy(&mut from, &mut heard);
    tokio::try_join!(say, hear).map(drop)
}

/// Takes one connection, accepts the log-in, answers a question for its channels with none, and closes.
pub(crate) async fn quiet(listener: &TcpListener) -> io::Result<()> {
    let (mut silo, _) = listener.accept().await?;
    silo.write_all(b"Asterisk Call Manager/9.0.0\r\n").await?;
    // It may leave whenever it likes.
    drop(answer_all(&mut silo).await);
    Ok(())
}

async fn answer_all(silo: &mut TcpStream) -> io::Result<()> {
    loop {
        let asked = tokio::time::timeout(std::time::Duration::from_secs(2), action(silo)).await;
        let Ok(asked) = asked else { return silo.shutdown().await };
        let asked = asked?;
        let header = |name: &str| asked.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned();
        let (name, id) = (header("Action:"), header("ActionID:"));
        silo.write_all(answer(&name, &id).as_bytes()).await?;
        if name == "CoreShowChannels" {
            silo.shutdown().await?;
            return tokio::io::copy(silo, &mut tokio::io::sink()).await.map(drop);
        }
    }
}

fn answer(action: &str, id: &str) -> String {
    match action {
        "Login" => format!("Response: Success\r\nActionID: {id}\r\nMessage: Authentication accepted\r\n\r\n"),
        "Ping" => format!("Response: Success\r\nActionID: {id}\r\nPing: Pong\r\n\r\n"),
        "CoreShowChannels" => format!(
            "Response: Success\r\nActionID: {id}\r\nEventList: start\r\nMessage: Channels will follow\r\n\r\n\
             Event: CoreShowChannelsComplete\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: 0\r\n\r\n"
        ),
        _ => format!("Response: Error\r\nActionID: {id}\r\nMessage: Invalid/unknown command\r\n\r\n"),
    }
}

/// The next action, whole. Actions come one at a time: the peer waits for its answers.
async fn action(silo: &mut TcpStream) -> io::Result<String> {
    let mut heard = Vec::new();
    while find(&heard, END_OF_ACTION).is_none() {
        if silo.read_buf(&mut heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&heard).into_owned())
}
