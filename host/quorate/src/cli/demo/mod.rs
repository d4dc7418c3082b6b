//! `quorate demo`: an embedded deployment with throw-away keys creates an account, signs Ethereum transactions with
//! every quorum, refreshes the key, and goes on under another build of the protocol, while it runs.

mod ethereum;
mod report;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use quorate_net::telemetry;
use quorate_net::web::guard::{AllowedAddresses, ApiKeyHashes};
use quorate_runtime::Plugin;
use serde_json::{Value, json};

use super::output::CliError;
use crate::cli::client::Client;
use crate::config::{Config, LimitsConfig, PluginsConfig, RatesConfig};
use crate::roles::embedded::{Embedded, EmbeddedSetup, read_component};
use crate::secret_file::random_hex;
use report::{DemoOutput, DemoReport, SignedTransaction, UsedPlugin};

#[derive(Args)]
pub(super) struct DemoArguments {
    /// Print one JSON object with everything that is needed to verify the demo; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// The component to begin with (QUORATE_PLUGIN_FILES)
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Another build of it, to go on with; dkls23-next.wasm beside it if you name none
    #[arg(long, value_name = "FILE")]
    replacement: Option<PathBuf>,
}

pub(super) async fn demo(config: Config, arguments: DemoArguments) -> Result<(), CliError> {
    // Only errors are logged: other lines would disturb the output of the demo.
    telemetry::start(
        if config.log.filter == "info" { "error" } else { &config.log.filter },
        config.log.format,
    )?;
    let progress = DemoOutput { json: arguments.json };
    let plugin = arguments.plugin.or_else(|| config.embedded.plugins.into_iter().next());
    let plugin = plugin.ok_or("name a component with --plugin")?;
    let replacement = arguments.replacement.unwrap_or_else(|| plugin.with_file_name("dkls23-next.wasm"));
    let data = TemporaryFolder::new()?;
    let key = random_hex()?;
    let began = Instant::now();
    let embedded = Embedded::start(EmbeddedSetup {
        plugin_policy: PluginsConfig::default(),
        data: data.0.clone(),
        parties: 3,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        keys: ApiKeyHashes::of_keys([key.as_str()])?,
        allowed: AllowedAddresses::default(),
        rates: RatesConfig::default(),
        proxies: AllowedAddresses::default(),
        limits: LimitsConfig::default(),
        // The demo installs them itself and shows how long that takes.
        plugins: vec![],
    })
    .await?;
    let client = Client::new(embedded.address(), &key)?;
    let mut demo = Demo { progress, embedded, client, report: DemoReport::default(), account: Value::Null };
    let ran = demo.run(&plugin, &replacement, began).await;
    let Demo { embedded, report, .. } = demo;
    embedded.stop().await;
    ran?;
    progress.finish(&report)
}

struct Demo {
    progress: DemoOutput,
    embedded: Embedded,
    client: Client,
    report: DemoReport,
    account: Value,
}

impl Demo {
    async fn run(&mut self, plugin: &Path, replacement: &Path, began: Instant) -> Result<(), CliError> {
        self.progress
            .say("Quorate demo: three parties in one process, each with a database and keys of its own.")?;
        self.progress
            .say("(One process is good for a demo; in production each party is a process of its own.)\n")?;
        let first = self.install(plugin).await?;
        self.report.timing("start, plugin compiled", began.elapsed());

        self.progress.say("\nDistributed key generation, 2 of 3 ...")?;
        let created = self.client.post("/accounts", &json!({ "user_id": "demo" })).await?;
        self.report.timing("keygen, 2 of 3", created.took);
        self.account = created.body.clone();
        self.report.accounts.push(created.body);
        self.progress.say(&format!("  account  {}", text(&self.account, "id")))?;
        self.progress.say(&format!("  Ethereum {}", text(&self.account, "ethereum_address")))?;
        self.progress.say(&format!("  Bitcoin  {}", text(&self.account, "bitcoin_address")))?;

        self.progress.say(
            "\nAn Ethereum transaction (EIP-1559) from this address, signed by every pair of parties ...",
        )?;
        for (nonce, signers) in [[1, 2], [1, 3], [2, 3]].into_iter().enumerate() {
            let step = format!("sign, parties {} + {}", signers[0], signers[1]);
            self.pay(nonce as u64, Some(signers), &step).await?;
        }

        self.progress.say("\nKey refresh: all parties get new shares of the same key ...")?;
        let path = format!("/accounts/{}/refresh", text(&self.account, "id"));
        let refreshed = self.client.post(&path, &json!({})).await?;
        self.report.timing("refresh", refreshed.took);
        self.progress.say(&format!("  epoch {} -> {}", self.account["epoch"], refreshed.body["epoch"]))?;
        self.same_account(&refreshed.body)?;
        self.account = refreshed.body.clone();
        self.report.accounts.push(refreshed.body);
        self.pay(3, None, "sign, after the refresh").await?;

        self.progress.say("\nThe protocol is replaced by another build, while the process runs ...")?;
        let began = Instant::now();
        let second = self.install(replacement).await?;
        self.report.timing("replacement, plugin compiled", began.elapsed());
        if first.digest() == second.digest() || first.descriptor().version == second.descriptor().version {
            return Err("the replacement is the same build: `make plugins` builds another one".into());
        }
        self.pay(4, None, "sign, on the replacement").await?;
        let used = text(&self.report.transactions[4].signature, "plugin_digest");
        if used != second.digest().to_string() {
            return Err("the last signature was not made on the replacement".into());
        }
        self.progress.say("  another digest, the same account")?;
        self.report.verified = true;
        Ok(())
    }

    async fn install(&mut self, path: &Path) -> Result<Plugin, CliError> {
        let plugin = self.embedded.install(&read_component(path)?).await?;
        let descriptor = plugin.descriptor();
        let digest = plugin.digest().to_string();
        self.progress.say(&format!(
            "  plugin {} {}, digest {}..., no access to clock, files or network",
            descriptor.id,
            descriptor.version,
            &digest[..16]
        ))?;
        let (protocol, version) = (descriptor.id.clone(), descriptor.version.clone());
        self.report.plugins.push(UsedPlugin { protocol, version, digest });
        Ok(plugin)
    }

    /// Signs a payment and verifies it as a node would: the sender must be the account's address.
    async fn pay(&mut self, nonce: u64, signers: Option<[u16; 2]>, step: &str) -> Result<(), CliError> {
        let transaction = ethereum::payment(nonce);
        let message = hex::encode(ethereum::unsigned(&transaction));
        let mut request = json!({ "message": message, "hash": "keccak256" });
        if let Some(signers) = signers {
            request["signers"] = json!(signers);
        }
        let account_id = text(&self.account, "id");
        let answer = self.client.post(&format!("/accounts/{account_id}/sign"), &request).await?;
        let signature = answer.body;
        let bytes = hex::decode(text(&signature, "signature"))?;
        let parity =
            signature["recovery_id"].as_u64().and_then(|id| u8::try_from(id).ok()).ok_or("no recovery id")?;
        let raw = ethereum::signed(transaction, &bytes, parity).ok_or("the signature is malformed")?;
        let sender = ethereum::sender(&raw).ok_or("no sender can be recovered from the transaction")?;
        let address = text(&self.account, "ethereum_address");
        if sender != address {
            return Err(format!(
                "the transaction is from {sender}, not from the account's address {address}"
            )
            .into());
        }
        if signers.is_some_and(|signers| signature["signers"] != json!(signers)) {
            return Err(format!("signed by parties {}, not as wished", signature["signers"]).into());
        }
        let raw_transaction = format!("0x{}", hex::encode(raw));
        self.progress.say(&format!(
            "  nonce {nonce}, parties {}: {}... sender {sender}",
            signature["signers"],
            &raw_transaction[..40],
        ))?;
        self.report.timing(step, answer.took);
        self.report.transactions.push(SignedTransaction {
            step: step.into(),
            account_id,
            message,
            hash: "keccak256",
            signature,
            raw_transaction,
            sender,
            chain_id: ethereum::CHAIN_ID,
        });
        Ok(())
    }

    fn same_account(&self, after: &Value) -> Result<(), CliError> {
        let same = |field: &str| self.account[field] == after[field];
        if ["id", "public_key", "ethereum_address"].into_iter().all(same) {
            Ok(())
        } else {
            Err("the account has another key after the refresh".into())
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// A folder that is removed at the end, with all keys in it.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("quorate-demo-{}", random_hex()?.as_str()));
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the demo's folder was not removed");
        }
    }
}
