use letshare_server::{
    app,
    clock::Clock,
    config::{self, Environment},
};

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let loaded =
        config::load(&Environment::of_process(), &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let running = app::start(&loaded.config, Clock::system())?;
    println!("{}", running.address);
    tokio::signal::ctrl_c().await?;
    running.drain().await;
    Ok(())
}
