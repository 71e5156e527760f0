//! What an error of Kafka means for the operator: which setting, which right, which machine.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// `error`, with the setting or the right it comes from.
pub(super) fn explain(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => explain_code(code),
        None => error.to_string(),
    }
}

/// As [`explain`], of a bare code.
pub(super) fn explain_code(code: Code) -> String {
    match advice(code) {
        Some(advice) => format!("{code}: {advice}"),
        None => code.to_string(),
    }
}

fn advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Resolve
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::BrokerNotAvailable
        | Code::NetworkException => {
            "no broker of stream.kafka.brokers answers; are they up, and reachable from here?"
        }
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "the brokers refuse sasl.username, sasl.password or sasl.mechanisms of \
             stream.kafka.properties"
        }
        Code::SSL => {
            "TLS failed: look at security.protocol and ssl.ca.location of stream.kafka.properties"
        }
        Code::TopicAuthorizationFailed => {
            "the user of stream.kafka.properties lacks a right on the topic: it needs Describe, \
             DescribeConfigs, Read and Write, and Create unless stream.kafka.create_topics is false"
        }
        Code::GroupAuthorizationFailed => {
            "the user of stream.kafka.properties lacks Read and Describe on the groups that begin \
             with stream.kafka.group_prefix"
        }
        Code::ClusterAuthorizationFailed => {
            "the user of stream.kafka.properties may not write idempotently, or not create topics: \
             give it Write on the topics, and Create unless stream.kafka.create_topics is false"
        }
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => {
            "the topic is not there any more, or the user of stream.kafka.properties may not see \
             it; a restart makes a topic that is gone anew, empty"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented => {
            "the brokers are too old: Waylog needs Apache Kafka 2.4 or newer"
        }
        Code::FencedInstanceId => {
            "another process bears the same stream.kafka.group_instance_id: each needs its own"
        }
        Code::InvalidReplicationFactor => {
            "there are fewer brokers than stream.kafka.replication_factor asks for"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            "fewer replicas are in sync than min.insync.replicas asks for; are all brokers up?"
        }
        Code::MessageTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => {
            "not acknowledged within stream.kafka.delivery_timeout_ms; are enough brokers up?"
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            "the topic's max.message.bytes is smaller than 1000000: raise it"
        }
        Code::InvalidTimestamp => {
            "this machine's clock and the brokers' differ too much (the topic's \
             message.timestamp.after.max.ms and message.timestamp.before.max.ms): set the clocks"
        }
        Code::PolicyViolation => "a policy of the brokers forbids it",
        Code::PurgeQueue | Code::PurgeInflight => "the producer was closed before it was sent",
        _ => return None,
    })
}

/// Whether librdkafka mends it by itself, by connecting again or asking elsewhere.
pub(super) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::RebalanceInProgress
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::DestroyBroker
            | Code::NodeUpdate
            | Code::RebootstrapRequired
    )
}
