/** The log: its load, its groups, advice. */
import type en from '../en/stream';

const stream: Record<keyof typeof en, string> = {
  'stream.groups': 'Gruppen',
  'stream.group': 'Gruppe',
  'stream.lag': 'Rückstand',
  'stream.behind': 'Zurück um',
  'stream.members': 'Mitglieder',
  'stream.records_one': '{n} Eintrag',
  'stream.records_other': '{n} Einträge',
  'stream.lag_chart': 'Rückstand der Gruppen in den letzten zehn Minuten',
  'stream.quarantine': 'Quarantäne',
  'stream.quarantine_none': 'Nichts in Quarantäne: jeder Fix war lesbar.',
  'stream.when': 'Wann',
  'stream.reason': 'Warum',
  'stream.all_well': 'Alles gut',
  'stream.partitions_one': '{n} Partition',
  'stream.partitions_other': '{n} Partitionen',
  'stream.partition': 'Partition',
  'stream.per_second': '{n} Einträge/s',
  'stream.load': 'Last gegen die vollste',
  'stream.rate': 'Einträge/s',
  'stream.size': 'Größe',

  'advice.quarantined': '{topic}, Partition {partition} ist gesperrt: {why}',
  'advice.quarantined_cure': 'Bestätigte Daten sind beschädigt. Spiel eine Sicherung ein, oder mach ohne sie weiter: waylog stream repair --accept-loss',
  'advice.damaged': '{topic}, Partition {partition} ist in älteren Einträgen beschädigt: {why}',
  'advice.damaged_cure': 'Neue Einträge werden angenommen. Wie viel betroffen ist: waylog stream verify',
  'advice.skew': '{topic}, Partition {partition} trägt das {ratio}-Fache der mittleren Last.',
  'advice.skew_cure': 'Ein Kurier sendet wohl viel mehr als die anderen, oder es sind zu wenige Kuriere für so viele Partitionen. Die Ursache: waylog stream advise',
  'advice.idle_one': '{group} hat {n} Mitglied ohne Arbeit.',
  'advice.idle_other': '{group} hat {n} Mitglieder ohne Arbeit.',
  'advice.idle_cure': '{members} Mitglieder teilen sich {partitions} Partitionen: halt einige an, oder beginn ein neues Log mit mehr Partitionen.',
  'advice.uneven': '{group}: {members} Mitglieder können {partitions} Partitionen nicht gleich teilen.',
  'advice.uneven_cure': 'Nimm eine Zahl von Mitgliedern, die die Zahl der Partitionen teilt.',
};

export default stream;
