import { startPage } from '../ui/start';
import './events.css';
import { EventsPage } from './EventsPage';

await startPage('nav.events', () => <EventsPage />);
