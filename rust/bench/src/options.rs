//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::failure::Failure;

/// `--help`.
pub(crate) const HELP: &str = "\
imfast-bench SCENARIO --port PORT --tokens FILE [options]

  fanout    one publisher sends to a group of all others
  direct    pairs send to each other
  idle      connect and hold until standard input ends
  connect   connect, and measure that

  --host ADDRESS          IPv4 address of the server [127.0.0.1]
  --port PORT             of the transport
  --transport NAME        ws-json, ws-proto or tcp [ws-json]
  --tokens FILE           a line `user token` for each connection
  --connections N         fanout: subscribers, one more line publishes [all lines]
  --seconds S             measured time [5]
  --warmup S              time before it [1]
  --window W              closed loop: messages under way, of each sender [16]
  --rate R                open loop instead: messages a second, of all senders together
  --write each|batch      a write for each message, or for all that may go at once [each]
  --body-bytes B          text of that many bytes [128]
  --ephemeral             messages neither stored nor numbered
  --no-keys               no idempotency keys
  --server NAME           reconnect until `connected` names this worker
  --server-pids P,P       processes whose CPU time is measured
  --concurrency C         connections being opened at once [128]
  --sources N             127.0.0.1 to 127.0.0.N as client addresses [one for 20,000 connections]
  --wait                  before the run, wait for a line on standard input
  --burn-us U             waste that much time for each message: a slow generator, for tests";

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScenarioName {
    FanOut,
    Direct,
    Idle,
    Connect,
}

/// How frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransportName {
    WebSocketJson,
    WebSocketProto,
    Tcp,
}

/// Connections from one source address; the kernel has about 28,000 ports for each.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// The options of [`HELP`].
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    pub scenario: ScenarioName,
    pub transport: TransportName,
    pub host: Ipv4Addr,
    pub port: u16,
    pub tokens: PathBuf,
    pub connections: Option<usize>,
    pub measured: Duration,
    pub warmup: Duration,
    pub window: u64,
    /// Messages a second; none: closed loop.
    pub rate: Option<f64>,
    pub batch: bool,
    pub body_bytes: usize,
    pub ephemeral: bool,
    pub keys: bool,
    pub server: Option<String>,
    pub server_pids: Vec<u32>,
    pub concurrency: usize,
    sources: Option<usize>,
    pub wait: bool,
    pub burn: Duration,
}

impl Options {
    fn new(scenario: ScenarioName) -> Self {
        Self {
            scenario,
            transport: TransportName::WebSocketJson,
            host: Ipv4Addr::LOCALHOST,
            port: 0,
            tokens: PathBuf::new(),
            connections: None,
            measured: Duration::from_secs(5),
            warmup: Duration::from_secs(1),
            window: 16,
            rate: None,
            batch: false,
            body_bytes: 128,
            ephemeral: false,
            keys: true,
            server: None,
            server_pids: Vec::new(),
            concurrency: 128,
            sources: None,
            wait: false,
            burn: Duration::ZERO,
        }
    }

    /// How many client addresses `connections` come from; 1 means: the kernel chooses.
    pub(crate) fn sources(&self, connections: usize) -> usize {
        self.sources
            .unwrap_or_else(|| connections.div_ceil(CONNECTIONS_PER_SOURCE))
            .clamp(1, 254)
    }
}

/// The program's own arguments; none when they ask for [`HELP`].
pub(crate) fn from_arguments() -> Result<Option<Options>, Failure> {
    parse(Parser::from_env())
}

fn parse(mut parser: Parser) -> Result<Option<Options>, Failure> {
    let mut options = match parser.next()? {
        Some(Arg::Value(name)) => Options::new(match name.to_str() {
            Some("fanout") => ScenarioName::FanOut,
            Some("direct") => ScenarioName::Direct,
            Some("idle") => ScenarioName::Idle,
            Some("connect") => ScenarioName::Connect,
            _ => return Err(Failure::Said(format!("no scenario {}", name.display()))),
        }),
        None | Some(Arg::Long("help") | Arg::Short('h')) => return Ok(None),
        Some(other) => return Err(other.unexpected().into()),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("host") => options.host = parser.value()?.parse()?,
            Arg::Long("port") => options.port = parser.value()?.parse()?,
            Arg::Long("tokens") => options.tokens = parser.value()?.into(),
            Arg::Long("connections") => options.connections = Some(parser.value()?.parse()?),
            Arg::Long("seconds") => options.measured = seconds(&mut parser)?,
            Arg::Long("warmup") => options.warmup = seconds(&mut parser)?,
            Arg::Long("window") => options.window = parser.value()?.parse()?,
            Arg::Long("rate") => options.rate = Some(parser.value()?.parse()?),
            Arg::Long("body-bytes") => options.body_bytes = parser.value()?.parse()?,
            Arg::Long("ephemeral") => options.ephemeral = true,
            Arg::Long("no-keys") => options.keys = false,
            Arg::Long("server") => options.server = Some(parser.value()?.string()?),
            Arg::Long("server-pids") => options.server_pids = numbers(&parser.value()?.string()?)?,
            Arg::Long("concurrency") => options.concurrency = parser.value()?.parse()?,
            Arg::Long("sources") => options.sources = Some(parser.value()?.parse()?),
            Arg::Long("wait") => options.wait = true,
            Arg::Long("burn-us") => options.burn = Duration::from_micros(parser.value()?.parse()?),
            Arg::Long("write") => {
                options.batch = match parser.value()?.string()?.as_str() {
                    "each" => false,
                    "batch" => true,
                    other => return Err(Failure::Said(format!("--write {other}: each or batch"))),
                }
            }
            Arg::Long("transport") => {
                options.transport = match parser.value()?.string()?.as_str() {
                    "ws-json" => TransportName::WebSocketJson,
                    "ws-proto" => TransportName::WebSocketProto,
                    "tcp" => TransportName::Tcp,
                    other => return Err(Failure::Said(format!("no transport {other}"))),
                }
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    check(&options)?;
    Ok(Some(options))
}

fn check(options: &Options) -> Result<(), Failure> {
    let wrong = if options.port == 0 {
        "--port is missing"
    } else if options.tokens.as_os_str().is_empty() {
        "--tokens is missing"
    } else if options.window == 0 || options.concurrency == 0 {
        "--window and --concurrency are at least 1"
    } else if options
        .rate
        .is_some_and(|rate| rate.is_nan() || rate <= 0.0)
    {
        "--rate is above 0"
    } else {
        return Ok(());
    };
    Err(Failure::Said(wrong.into()))
}

fn seconds(parser: &mut Parser) -> Result<Duration, Failure> {
    let value: f64 = parser.value()?.parse()?;
    Duration::try_from_secs_f64(value)
        .map_err(|error| Failure::Said(format!("{value} seconds: {error}")))
}

fn numbers(text: &str) -> Result<Vec<u32>, Failure> {
    text.split(',')
        .map(|one| {
            one.parse()
                .map_err(|_| Failure::Said(format!("{one} is no process id")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Options, Failure> {
        let arguments = arguments.split_whitespace().map(std::ffi::OsString::from);
        parse(Parser::from_args(arguments)).map(|options| options.expect("no --help"))
    }

    #[test]
    fn options_say_what_was_given_and_keep_their_defaults() {
        let options = parsed("direct --port 9 --tokens t --rate 5000 --server-pids 7,8")
            .expect("valid arguments");
        assert_eq!(options.scenario, ScenarioName::Direct);
        assert_eq!(options.rate, Some(5000.0));
        assert_eq!(options.server_pids, [7, 8]);
        assert_eq!(options.body_bytes, 128);
        assert!(options.keys && !options.batch);
    }

    #[test]
    fn more_connections_than_one_address_has_ports_come_from_several() {
        let options = parsed("idle --port 9 --tokens t").expect("valid arguments");
        assert_eq!(options.sources(20_000), 1);
        assert_eq!(options.sources(20_001), 2);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, named) in [
            ("dance --port 1", "dance"),
            ("idle --tokens t", "--port"),
            ("idle --port 1 --tokens t --rate 0", "--rate"),
            ("idle --port 1 --tokens t --write some", "some"),
            ("idle --port 1 --tokens t --server-pids 1,x", "x"),
        ] {
            let message = parsed(arguments).expect_err(arguments).to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
