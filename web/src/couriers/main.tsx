import { startPage } from '../ui/start';
import './couriers.css';
import { CouriersPage } from './CouriersPage';

await startPage('bulk.title', () => <CouriersPage />);
