//! `keyledger verify`, `rebuild` and `public-key`.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use keyledger_projections::Value;

use super::{Failure, StoreArgs, progress::progress_bar};
use crate::{evidence, ledger::replay, signer::NoteSigner};

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// File with a checkpoint that was kept: the log must begin with the events that it was signed over; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct PublicKeyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The product whose key is wanted; without it the global key.
    #[arg(long, value_name = "NUMBER")]
    product: Option<i64>,
}

fn show(bar: &ProgressBar) -> impl FnMut(i64, i64) + Send + '_ {
    |done, all| {
        bar.set_length(all.unsigned_abs());
        bar.set_position(done.unsigned_abs());
    }
}

pub async fn verify(args: VerifyArgs) -> Result<(), Failure> {
    let (store, vault) = args.store.open_vault().await?;
    let bar = progress_bar();
    let signer = NoteSigner::new(&vault, "")?;
    let mut held = Vec::new();
    for path in &args.checkpoint {
        let shown = path.display();
        let note = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        held.push(signer.read(&note).ok_or_else(|| format!("{shown}: not a checkpoint that this ledger signed"))?);
    }
    let verified = evidence::verify(&store, &vault, held, &mut show(&bar)).await;
    bar.finish_and_clear();
    let (verified, checkpoints) = verified.map_err(|error| format!("verification failed: {error}"))?;
    println!("{} events: positions, sequences and times without gaps, every hash as recorded", verified.events);
    println!("tree of {} events, root {}", verified.events, hex::encode(verified.root));
    println!("{checkpoints} checkpoints were made of this log");
    println!("{} rows of the projections are what the log says", verified.rows);
    Ok(())
}

pub async fn rebuild(args: RebuildArgs) -> Result<(), Failure> {
    let (store, vault) = args.store.open_vault().await?;
    let bar = progress_bar();
    let rebuilt = replay::rebuild(&store, &vault, &mut show(&bar)).await;
    bar.finish_and_clear();
    let events = rebuilt.map_err(|error| format!("the projections were left as they are: {error}"))?;
    println!("projections rebuilt from {events} events");
    Ok(())
}

pub async fn public_key(args: PublicKeyArgs) -> Result<(), Failure> {
    let store = args.store.store(false).await?;
    let rows = match args.product {
        Some(product) => {
            let sql = "SELECT k.public_key FROM product p JOIN key_pair k ON k.number = p.key_pair WHERE p.number = $1 AND NOT p.deleted";
            store.query(sql, &[product.into()]).await?
        }
        None => store.query("SELECT public_key FROM key_pair WHERE product IS NULL ORDER BY number DESC LIMIT 1", &[]).await?,
    };
    match (rows.first().and_then(|row| row.first()), args.product) {
        (Some(Value::Text(pem)), _) => {
            print!("{pem}");
            Ok(())
        }
        (_, Some(product)) => Err(format!("there is no product {product}, or it has no key pair of its own (then the global key signs)").into()),
        (_, None) => Err("the ledger has no global key pair yet; `keyledger serve` makes it".into()),
    }
}
