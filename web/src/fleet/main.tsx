import './fleet.css';
import { startPage } from '../ui/start';
import { FleetPage } from './FleetPage';

await startPage('nav.fleet', (session) => <FleetPage session={session} />);
