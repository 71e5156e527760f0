import './trips.css';
import { startPage } from '../ui/start';
import { TripsPage } from './TripsPage';

await startPage('nav.trips', () => <TripsPage />);
