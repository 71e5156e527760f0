//! Analytics grows from one member to three and back under load.

use super::kit::{Installation, broker, wait_for_no_lag, wait_for_owners};
use super::phones::{Acknowledged, Fleet, empty_queues};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_analytics_grows_to_three_members_and_back_without_a_double_row() {
    let Some(broker) = broker() else { return };
    let house = Installation::on(&broker, 1).await;
    let mut front = house.node("ingest,dispatch");
    let mut sinks = [
        house.node("analytics"),
        house.node("analytics"),
        house.node("analytics"),
    ];
    let server = front.start().await;
    let (phones, _) = house.crew(&server, 24).await;
    let nodes = [server.url.clone()];
    let fleet = Fleet::start(phones, &nodes, Acknowledged::default());
    let mut members = vec![sinks[0].start().await];
    wait_for_owners(&server, "analytics", 1).await;
    fleet.more(500).await;
    for sink in &mut sinks[1..] {
        members.push(sink.start().await);
    }
    wait_for_owners(&server, "analytics", 3).await;
    fleet.more(500).await;
    // One goes in order, one is killed.
    assert!(members.remove(1).stop().await);
    members.remove(1).kill().await;
    wait_for_owners(&server, "analytics", 1).await;
    fleet.more(500).await;
    let done = fleet.done.clone();
    let mut phones = fleet.stop().await;
    empty_queues(&mut phones, &nodes, &done).await;
    wait_for_no_lag(&server, "analytics").await;
    house.check(&server, &done).await;
    assert!(members.remove(0).stop().await && server.stop().await);
    house.database.drop_database().await;
}
